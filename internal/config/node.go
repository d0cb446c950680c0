package config

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds of what is read. The parser's time grows with the square of the words and its stack with the brackets.
const (
	maxBytes    = 1 << 20
	maxWords    = 50_000
	maxBrackets = 32
)

// kind is what a node holds, worded as a message names it.
type kind string

const (
	isNull    kind = "nothing"
	isText    kind = "text"
	isNumber  kind = "a number"
	isBool    kind = "true or false"
	isList    kind = "a list"
	isMapping kind = "a mapping"
	isBroken  kind = "" // what is wrong was reported
)

// node is one value of the file, with aliases and merges resolved. Nodes are shared between the places that alias them.
type node struct {
	kind  kind
	text  string // of a scalar, as written
	pos   position
	items []*node
	pairs []pair
}

// pair is one key of a mapping.
type pair struct {
	key   string
	pos   position
	value *node
}

// get returns the pair of key, nil if there is none.
func (n *node) get(key string) *pair {
	for i := range n.pairs {
		if n.pairs[i].key == key {
			return &n.pairs[i]
		}
	}
	return nil
}

// tree reads YAML. Mistakes of form go to r; the node is nil if nothing can be made of the text. The words are those that were
// read, comments included.
func tree(text []byte, r *report) (*node, token.Tokens) {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	if at := bytes.IndexByte(text, 0); at >= 0 || !utf8.Valid(text) {
		r.add(position{}, "", "save it as UTF-8", "this is not UTF-8 text")
		return nil, nil
	}
	words := lexer.Tokenize(string(text))
	if !bounded(words, r) {
		return nil, words
	}
	file, err := parser.Parse(words, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		syntax(err, r)
		return nil, words
	}
	var root ast.Node
	for i, d := range file.Docs {
		if i > 0 {
			r.add(documentPosition(d), "", "keep one document, and delete the line ---", "the file holds several documents")
			return nil, words
		}
		root = d.Body
	}
	if root == nil || root.Type() == ast.NullType || root.Type() == ast.CommentType {
		r.add(position{}, "", "", "the file is empty")
		return nil, words
	}
	c := converter{report: r, anchors: map[string]*node{}}
	return c.node(root), words
}

func documentPosition(d *ast.DocumentNode) position {
	switch {
	case d.Start != nil:
		return at(d.Start)
	case d.Body != nil:
		return at(d.Body.GetToken())
	default:
		return position{}
	}
}

// bounded refuses what would keep the parser busy.
func bounded(words token.Tokens, r *report) bool {
	if len(words) > maxWords {
		r.add(at(words[maxWords]), "", "", "the file is too long: dbops reads up to %d words and signs of YAML", maxWords)
		return false
	}
	depth := 0
	for _, w := range words {
		switch w.Type {
		case token.MappingStartType, token.SequenceStartType:
			depth++
		case token.MappingEndType, token.SequenceEndType:
			depth--
		default:
		}
		if depth > maxBrackets {
			r.add(at(w), "", "", "brackets are nested more than %d deep", maxBrackets)
			return false
		}
	}
	return true
}

func at(t *token.Token) position {
	if t == nil || t.Position == nil {
		return position{}
	}
	return position{t.Position.Line, t.Position.Column}
}

// syntax reports what the parser refused. Its message is shortened where it could repeat text of the file.
func syntax(err error, r *report) {
	var pos position
	msg := "this is not YAML"
	if e, ok := errors.AsType[yaml.Error](err); ok {
		pos = at(e.GetToken())
		msg, _, _ = strings.Cut(e.GetMessage(), `"`)
	}
	suggestion := ""
	switch {
	case strings.Contains(msg, "tab character"), strings.Contains(msg, "'\t'"):
		msg, suggestion = "a tab is no indentation in YAML", "use spaces"
	case strings.Contains(msg, "mapping value is not allowed"):
		suggestion = "put a value that holds a colon and a space in quotes"
	case strings.Contains(msg, "non-map value"), strings.Contains(msg, "value is not allowed in this context"):
		suggestion = "check the indentation, and the colon and space after the key"
	}
	r.add(pos, "", suggestion, "%s", msg)
}

// converter makes nodes of the parser's.
type converter struct {
	report  *report
	anchors map[string]*node
	merged  int // pairs brought in by << so far
}

// node never returns nil: what cannot be read is reported and becomes broken.
func (c *converter) node(n ast.Node) *node {
	switch n := n.(type) {
	case *ast.MappingNode:
		return c.mapping(n.Values, at(n.Start))
	case *ast.MappingValueNode:
		return c.mapping([]*ast.MappingValueNode{n}, at(n.Start))
	case *ast.SequenceNode:
		out := &node{kind: isList, pos: at(n.Start)}
		for _, v := range n.Values {
			out.items = append(out.items, c.node(v))
		}
		return out
	case *ast.AnchorNode:
		v := c.node(n.Value)
		c.anchors[anchorName(n.Name)] = v
		return v
	case *ast.AliasNode:
		if v, ok := c.anchors[anchorName(n.Value)]; ok {
			return v
		}
		c.report.add(at(n.Start), "", "an alias must come after its anchor", "there is no such anchor")
		return &node{kind: isBroken, pos: at(n.Start)}
	case *ast.TagNode:
		c.report.add(at(n.Start), "", "delete it", "a tag (!) has no meaning here")
		return &node{kind: isBroken, pos: at(n.Start)}
	case *ast.LiteralNode:
		return &node{kind: isText, text: n.Value.Value, pos: at(n.Value.Token)}
	case *ast.StringNode:
		return &node{kind: isText, text: n.Value, pos: at(n.Token)}
	case *ast.BoolNode:
		return &node{kind: isBool, text: n.Token.Value, pos: at(n.Token)}
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		t := n.GetToken()
		return &node{kind: isNumber, text: t.Value, pos: at(t)}
	case *ast.NullNode:
		return &node{kind: isNull, pos: at(n.Token)}
	}
	var pos position
	if n != nil {
		pos = at(n.GetToken())
	}
	c.report.add(pos, "", "", "this cannot be understood here")
	return &node{kind: isBroken, pos: pos}
}

func anchorName(n ast.Node) string {
	if n == nil {
		return ""
	}
	return n.GetToken().Value
}

// mapping keeps the first of a duplicate key; what is merged in (<<) gives way to what is written.
func (c *converter) mapping(values []*ast.MappingValueNode, pos position) *node {
	out := &node{kind: isMapping, pos: pos}
	seen := make(map[string]int, len(values))
	var merged []*node
	for _, v := range values {
		if v.Key.IsMergeKey() {
			merged = append(merged, c.merge(v)...)
			continue
		}
		t := v.Key.GetToken()
		switch k := v.Key.(type) {
		case *ast.AliasNode, *ast.AnchorNode, *ast.TagNode:
			c.report.add(at(t), "", "write it out", "a key cannot be an anchor, an alias or a tag")
			continue
		case *ast.MappingKeyNode:
			t = k.Value.GetToken()
		}
		if len(out.pairs) == 0 {
			out.pos = at(t)
		}
		value := c.node(v.Value)
		if first, ok := seen[t.Value]; ok {
			c.report.add(at(t), "", "", "key %s is here twice: first on line %d", quote(t.Value), out.pairs[first].pos.line)
			continue
		}
		seen[t.Value] = len(out.pairs)
		out.pairs = append(out.pairs, pair{key: t.Value, pos: at(t), value: value})
	}
	for _, m := range merged {
		if c.merged += len(m.pairs); c.merged > maxWords {
			c.report.add(out.pos, "", "", "<< brings in too much")
			return out
		}
		for _, p := range m.pairs {
			if _, ok := seen[p.key]; !ok {
				seen[p.key] = len(out.pairs)
				out.pairs = append(out.pairs, p)
			}
		}
	}
	return out
}

// merge returns the mappings that a << brings in.
func (c *converter) merge(v *ast.MappingValueNode) []*node {
	n := c.node(v.Value)
	all := n.items
	if n.kind != isList {
		all = []*node{n}
	}
	for _, m := range all {
		if m.kind == isBroken {
			return nil
		}
		if m.kind != isMapping {
			c.report.add(at(v.Key.GetToken()), "", "as in <<: *name", "<< merges mappings only, got %s", m.kind)
			return nil
		}
	}
	return all
}
