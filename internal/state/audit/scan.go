package audit

import "bytes"

// scanned is what verifying needs of an entry, as raw JSON text: decoding a million entries would take longer than hashing them.
type scanned struct {
	v                       int64
	seq                     int64
	run, kind, step, target []byte
	phase                   []byte
}

// scan reads an entry in canonical form up to its target. Of later versions it reads v and seq.
func scan(body []byte) (scanned, bool) {
	var s scanned
	p := scanner{body, true}
	p.text(`{"v":`)
	s.v = p.number()
	p.text(`,"seq":`)
	s.seq = p.number()
	if s.v != Version {
		return s, p.ok
	}
	p.text(`,"at":`)
	p.quoted()
	p.text(`,"actor":`)
	p.quoted()
	p.text(`,"via":`)
	p.quoted()
	p.text(`,"host":`)
	p.quoted()
	p.text(`,"run":`)
	s.run = p.quoted()
	p.text(`,"kind":`)
	s.kind = p.quoted()
	p.text(`,"step":`)
	s.step = p.quoted()
	p.text(`,"attempt":`)
	p.number()
	p.text(`,"phase":`)
	s.phase = p.quoted()
	p.text(`,"target":`)
	s.target = p.quoted()
	return s, p.ok
}

type scanner struct {
	rest []byte
	ok   bool
}

func (p *scanner) text(want string) {
	if !p.ok || len(p.rest) < len(want) || string(p.rest[:len(want)]) != want {
		p.ok = false
		return
	}
	p.rest = p.rest[len(want):]
}

func (p *scanner) number() int64 {
	var n int64
	i := 0
	for ; i < len(p.rest) && i < 18 && p.rest[i] >= '0' && p.rest[i] <= '9'; i++ {
		n = n*10 + int64(p.rest[i]-'0')
	}
	p.ok = p.ok && i > 0
	p.rest = p.rest[i:]
	return n
}

// quoted returns a string with its quotes.
func (p *scanner) quoted() []byte {
	if !p.ok || len(p.rest) == 0 || p.rest[0] != '"' {
		p.ok = false
		return nil
	}
	for i := 1; ; i++ {
		n := bytes.IndexByte(p.rest[i:], '"')
		if n < 0 {
			p.ok = false
			return nil
		}
		i += n
		escapes := 0
		for p.rest[i-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			s := p.rest[:i+1]
			p.rest = p.rest[i+1:]
			return s
		}
	}
}
