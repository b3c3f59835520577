// SPDX-License-Identifier: Apache-2.0
pragma circom 2.2.0;

include "poseidon2_constants.circom";

// Poseidon2 over BN254, width 4, x^5, 4 + 56 + 4 rounds (eprint 2023/323), and the compression H4.
//
// The state is kept as linear expressions of earlier signals (circom `var`s), so the matrices cost nothing and
// a permutation is 88 S-boxes of three multiplications: 264 constraints.

// y = x^5
template Sbox() {
    signal input x;
    signal output y;

    signal square <== x * x;
    signal fourth <== square * square;
    y <== fourth * x;
}

// One full round: constants c[offset .. offset + 3], four S-boxes, the external matrix.
// Outputs are the S-boxes' outputs; the caller applies the matrix to its own `var`s.
template FullSboxes(offset) {
    signal input in[4];
    signal output out[4];

    var c[88] = poseidon2RoundConstants();
    component sbox[4];
    for (var i = 0; i < 4; i++) {
        sbox[i] = Sbox();
        sbox[i].x <== in[i] + c[offset + i];
        out[i] <== sbox[i].y;
    }
}

// H4(in) = permute(in)[0] + in[0]
template H4() {
    signal input in[4];
    signal output out;

    var c[88] = poseidon2RoundConstants();
    var D[4] = poseidon2InternalDiagonal();
    var M[4][4] = poseidon2ExternalMatrix();
    var s[4];
    var t[4];

    for (var i = 0; i < 4; i++) {
        s[i] = M[i][0] * in[0] + M[i][1] * in[1] + M[i][2] * in[2] + M[i][3] * in[3];
    }

    component full[8];
    for (var round = 0; round < 4; round++) {
        full[round] = FullSboxes(4 * round);
        for (var i = 0; i < 4; i++) full[round].in[i] <== s[i];
        for (var i = 0; i < 4; i++) t[i] = full[round].out[i];
        for (var i = 0; i < 4; i++) s[i] = M[i][0] * t[0] + M[i][1] * t[1] + M[i][2] * t[2] + M[i][3] * t[3];
    }

    component partial[56];
    for (var round = 0; round < 56; round++) {
        partial[round] = Sbox();
        partial[round].x <== s[0] + c[16 + round];
        s[0] = partial[round].y;
        var total = s[0] + s[1] + s[2] + s[3];
        for (var i = 0; i < 4; i++) s[i] = D[i] * s[i] + total;
    }

    for (var round = 4; round < 8; round++) {
        full[round] = FullSboxes(56 + 4 * round);
        for (var i = 0; i < 4; i++) full[round].in[i] <== s[i];
        for (var i = 0; i < 4; i++) t[i] = full[round].out[i];
        for (var i = 0; i < 4; i++) s[i] = M[i][0] * t[0] + M[i][1] * t[1] + M[i][2] * t[2] + M[i][3] * t[3];
    }

    out <== s[0] + in[0];
}
