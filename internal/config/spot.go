package config

import "strings"

// spot is a place in the file that a message can name: a value, its key, and the keys that lead to it.
type spot struct {
	node *node // never nil
	key  position
	path []string
}

// child returns the spot of a key, and whether the file has it. Without it the spot is that of s with key's path.
func (s spot) child(key string) (spot, bool) {
	path := append(s.path[:len(s.path):len(s.path)], key)
	if p := s.node.get(key); p != nil {
		return spot{p.value, p.pos, path}, true
	}
	return spot{&node{kind: isNull, pos: s.key}, s.key, path}, false
}

// down is child for keys that are known to be there, or whose absence was reported.
func (s spot) down(keys ...string) spot {
	for _, k := range keys {
		s, _ = s.child(k)
	}
	return s
}

// item returns the spot of one value of a list.
func (s spot) item(i int) spot {
	if i >= len(s.node.items) {
		return s
	}
	return spot{s.node.items[i], s.node.items[i].pos, s.path}
}

// String is the path, as in environments.prod.instances.main.
func (s spot) String() string {
	shown := make([]string, len(s.path))
	for i, p := range s.path {
		shown[i] = show(p)
	}
	return strings.Join(shown, ".")
}

// atKey reports a problem where the key stands.
func (r *report) atKey(s spot, suggestion, format string, args ...any) {
	r.add(s.key, s.String(), suggestion, format, args...)
}

// atValue reports a problem where the value stands.
func (r *report) atValue(s spot, suggestion, format string, args ...any) {
	r.add(s.node.pos, s.String(), suggestion, format, args...)
}
