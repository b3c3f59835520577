#!/usr/bin/env node
// The npm package `solc` (the compiler in WebAssembly) behind the command line that py-solc-x speaks:
// `--version`, and `--standard-json` with the JSON input on stdin. All sources come in the input; nothing else is read.
"use strict";

const fs = require("fs");
const solc = require("solc");

// A pipe takes 64 KB at a time: write until all is out, and wait where the reader is slow.
function writeOut(text) {
  const bytes = Buffer.from(text, "utf8");
  for (let done = 0; done < bytes.length; ) {
    try {
      done += fs.writeSync(1, bytes, done);
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    }
  }
}

const options = process.argv.slice(2);
if (options.includes("--version")) {
  writeOut(`solc, the solidity compiler commandline interface\nVersion: ${solc.version()}\n`);
} else if (options.includes("--standard-json")) {
  writeOut(solc.compile(fs.readFileSync(0, "utf8")));
} else {
  process.stderr.write("solc_shim: expected --version or --standard-json\n");
  process.exitCode = 1;
}
