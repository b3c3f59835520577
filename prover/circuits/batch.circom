// SPDX-License-Identifier: Apache-2.0
pragma circom 2.2.0;

include "lib/tree.circom";

// The next state of one bucket is the old state plus exactly the attested items (PROTOCOL section 5).
//
// Public, in the order in which the Distributor passes them:
//   oldRoot, newRoot   bucket trees before and after: element 2s is the address of slot s, element 2s+1 its cumulative
//   itemsRoot          tree of the attested items: element 2j is the address of item j, element 2j+1 its amount
//   r                  the challenge, derived on chain from a digest that fixes the three roots and the deltas
//   fingerprint        what the Distributor computed from `deltas` at r
// Private:
//   oldAddress, oldCumulative, newAddress, newCumulative   [N], N = 4^L / 2 slots; an empty slot is (0, 0)
//   itemAddress, itemAmount                                [M]; an unused item is (0, 0)
//   emptySlotWitness                                       [N], any w with d_s = newAddress_s * w_s
//   itemQuotient [M], slotQuotient [N]                     itemAmount / (r - itemAddress), d / (r - newAddress)
//
// There is no range check in here: the deltas are small because the contract parsed them as uint96, amounts because the
// attestors refuse others, and 4 and 5 are identities of polynomials and rational functions once r is fixed after them.
template Batch(L, K, M) {
    var N = 4 ** L \ 2;
    assert(2 * M <= 4 ** K);

    signal input oldRoot;
    signal input newRoot;
    signal input itemsRoot;
    signal input r;
    signal input fingerprint;

    signal input oldAddress[N];
    signal input oldCumulative[N];
    signal input newAddress[N];
    signal input newCumulative[N];
    signal input itemAddress[M];
    signal input itemAmount[M];
    signal input emptySlotWitness[N];
    signal input itemQuotient[M];
    signal input slotQuotient[N];

    var d[N];
    for (var s = 0; s < N; s++) d[s] = newCumulative[s] - oldCumulative[s];

    // 1. The roots are the trees of the vectors.
    component oldTree = Root(L, 2 * N);
    component newTree = Root(L, 2 * N);
    component itemsTree = Root(K, 2 * M);
    for (var s = 0; s < N; s++) {
        oldTree.in[2 * s] <== oldAddress[s];
        oldTree.in[2 * s + 1] <== oldCumulative[s];
        newTree.in[2 * s] <== newAddress[s];
        newTree.in[2 * s + 1] <== newCumulative[s];
    }
    for (var j = 0; j < M; j++) {
        itemsTree.in[2 * j] <== itemAddress[j];
        itemsTree.in[2 * j + 1] <== itemAmount[j];
    }
    oldTree.out === oldRoot;
    newTree.out === newRoot;
    itemsTree.out === itemsRoot;

    for (var s = 0; s < N; s++) {
        // 2. An address never changes once set.
        oldAddress[s] * (newAddress[s] - oldAddress[s]) === 0;
        // 3. An empty slot gains nothing.
        newAddress[s] * emptySlotWitness[s] === d[s];
    }

    // 4. The deltas that the contract parsed are the differences: the polynomial with coefficients d_0 .. d_{N-1},
    //    newAddress_0 - oldAddress_0, ... evaluated at r by Horner's rule.
    signal horner[2 * N];
    horner[2 * N - 1] <== newAddress[N - 1] - oldAddress[N - 1];
    for (var i = 2 * N - 2; i >= 0; i--) {
        if (i >= N) {
            horner[i] <== horner[i + 1] * r + newAddress[i - N] - oldAddress[i - N];
        } else {
            horner[i] <== horner[i + 1] * r + d[i];
        }
    }
    horner[0] === fingerprint;

    // 5. Every reward reaches the address it was attested for, and nothing else does.
    var attested = 0;
    var booked = 0;
    for (var j = 0; j < M; j++) {
        itemQuotient[j] * (r - itemAddress[j]) === itemAmount[j];
        attested += itemQuotient[j];
    }
    for (var s = 0; s < N; s++) {
        slotQuotient[s] * (r - newAddress[s]) === d[s];
        booked += slotQuotient[s];
    }
    attested === booked;
}
