package audit

import (
	"crypto/sha256"
	"errors"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// tree is a Merkle tree of RFC 6962 that grows at its right edge: the roots of its complete subtrees, largest first, are all that is
// needed to append and to compute the root of the whole.
type tree struct {
	size  int64
	roots []tlog.Hash
}

var errRoots = errors.New("the roots do not fit the size")

// openTree reads what pack wrote.
func openTree(size int64, packed []byte) (*tree, error) {
	if size < 0 || size > maxSize || len(packed) != bits.OnesCount64(uint64(size))*tlog.HashSize {
		return nil, errRoots
	}
	t := &tree{size: size}
	for ; len(packed) > 0; packed = packed[tlog.HashSize:] {
		t.roots = append(t.roots, tlog.Hash(packed[:tlog.HashSize]))
	}
	return t, nil
}

func (t *tree) pack() []byte {
	b := make([]byte, 0, len(t.roots)*tlog.HashSize)
	for _, h := range t.roots {
		b = append(b, h[:]...)
	}
	return b
}

// push appends a leaf. It shows the hashes that the leaf completes to see, in the order in which they are stored, with the level of each,
// and goes on with what see returns.
func (t *tree) push(leaf tlog.Hash, see func(level int, h tlog.Hash) tlog.Hash) {
	h := see(0, leaf)
	for i, level := t.size, 1; i&1 == 1; i, level = i>>1, level+1 {
		last := len(t.roots) - 1
		h = see(level, tlog.NodeHash(t.roots[last], h))
		t.roots = t.roots[:last]
	}
	t.roots = append(t.roots, h)
	t.size++
}

// root is the hash of the whole tree.
func (t *tree) root() tlog.Hash {
	if len(t.roots) == 0 {
		return sha256.Sum256(nil)
	}
	h := t.roots[len(t.roots)-1]
	for i := len(t.roots) - 2; i >= 0; i-- {
		h = tlog.NodeHash(t.roots[i], h)
	}
	return h
}

// rootIndexes are the places of the roots of a tree's complete subtrees among the stored hashes.
func rootIndexes(size int64) []int64 {
	var at []int64
	for lo := int64(0); lo < size; {
		level := bits.Len64(uint64(size-lo)) - 1
		at = append(at, tlog.StoredHashIndex(level, lo>>level))
		lo += 1 << level
	}
	return at
}
