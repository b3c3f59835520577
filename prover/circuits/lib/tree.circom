// SPDX-License-Identifier: Apache-2.0
pragma circom 2.2.0;

include "poseidon2.circom";

// Root of the tree of 4^levels elements folded by H4, left to right, of which the first `used` are given and the
// rest are the constant 0. A node over nothing but unused elements is a compile-time constant and costs nothing.
template Root(levels, used) {
    assert(used > 0);
    assert(used <= 4 ** levels);
    signal input in[used];
    signal output out;

    var zero[16] = zeroSubtrees();
    var width = used; // nodes of the level that depend on a given element
    var hashes = 0;
    for (var level = 0; level < levels; level++) {
        width = (width + 3) \ 4;
        hashes += width;
    }

    component hash[hashes];
    var node[used];
    for (var i = 0; i < used; i++) node[i] = in[i];

    width = used;
    var next = 0;
    for (var level = 0; level < levels; level++) {
        var parents = (width + 3) \ 4;
        for (var i = 0; i < parents; i++) {
            hash[next] = H4();
            for (var k = 0; k < 4; k++) {
                if (4 * i + k < width) {
                    hash[next].in[k] <== node[4 * i + k];
                } else {
                    hash[next].in[k] <== zero[level];
                }
            }
            node[i] = hash[next].out;
            next++;
        }
        width = parents;
    }
    out <== node[0];
}
