package creds

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
)

// standardPort is where a server listens if a credential does not say.
const standardPort = 5432

// aim tells of an address in a credential whether it is to be replaced, and by which.
type aim func(host string, port int) (toHost string, toPort int, hit bool)

// aimed is what became of a credential's text. Only what is replaced differs, byte for byte.
type aimed struct {
	text string
	hits int
	// rest are the other fields, by their names: dbops does not know what they are for.
	rest []field
}

// field is a value of a credential that dbops leaves alone.
type field struct{ name, text string }

// readdress replaces addresses in the text of a credential that was parsed as p. No error holds any part of it.
func (p *payload) readdress(text string, to aim) (aimed, error) {
	switch p.form {
	case formJSON:
		return readdressJSON(text, to)
	case formURL:
		at := len(text) - len(strings.TrimLeft(text, " \t\r\n"))
		out, hits := readdressURL(text[at:], to)
		return aimed{text: text[:at] + out, hits: hits, rest: []field{{"the rest of the URL", afterHost(out)}}}, nil
	default:
		return readdressLines(text, to), nil
	}
}

// span is a scalar of a JSON text, and where it is.
type span struct {
	path       []string
	start, end int
}

// spans are the scalars of a JSON text, in their order.
func spans(text string) (all []span, err error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var value func(path []string) error
	value = func(path []string) error {
		from := int(d.InputOffset())
		token, err := d.Token()
		if err != nil {
			return err
		}
		end := int(d.InputOffset())
		open, ok := token.(json.Delim)
		if !ok {
			start := from + len(text[from:end]) - len(strings.TrimLeft(text[from:end], " \t\r\n:,"))
			all = append(all, span{path, start, end})
			return nil
		}
		for i := 0; d.More(); i++ {
			key := strconv.Itoa(i)
			if open == '{' {
				name, err := d.Token()
				if err != nil {
					return err
				}
				key, _ = name.(string)
			}
			if err := value(append(slices.Clone(path), key)); err != nil {
				return err
			}
		}
		_, err = d.Token()
		return err
	}
	if err := value(nil); err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.New("it is a broken JSON object")
	}
	return all, nil
}

// place is where an address of a JSON credential is: at the top, or under the name of a database.
func (s span) place() (where, key string, ok bool) {
	switch {
	case len(s.path) == 1:
		return "", s.path[0], true
	case len(s.path) == 3 && s.path[0] == "databases":
		return s.path[1], strings.ToLower(s.path[2]), true
	default:
		return "", "", false
	}
}

func readdressJSON(text string, to aim) (aimed, error) {
	all, err := spans(text)
	if err != nil {
		return aimed{}, err
	}
	ports := map[string]span{}
	for _, s := range all {
		if where, key, ok := s.place(); ok && key == "port" {
			ports[where] = s
		}
	}
	edits := map[int]string{} // by where they begin
	out := aimed{}
	for _, s := range all {
		raw := text[s.start:s.end]
		var value string
		isText := json.Unmarshal([]byte(raw), &value) == nil
		where, key, ok := s.place()
		if ok && key == "port" {
			continue
		}
		if ok && key == "host" && isText {
			at, has := ports[where]
			port := 0
			if has {
				port, _ = strconv.Atoi(strings.Trim(text[at.start:at.end], `"`)) // 0: not said
			}
			if host, n, hit := to(value, port); hit {
				out.hits++
				quoted, err := json.Marshal(host)
				if err != nil {
					return aimed{}, err
				}
				edits[s.start] = string(quoted)
				switch {
				case has && text[at.start] == '"':
					edits[at.start] = strconv.Quote(strconv.Itoa(n))
				case has:
					edits[at.start] = strconv.Itoa(n)
				case n != standardPort:
					edits[s.start] += `,"port":` + strconv.Itoa(n)
				}
				continue
			}
		}
		if isText && (!ok || key != "host") {
			out.rest = append(out.rest, field{strings.Join(s.path, "."), value})
		}
	}
	var b strings.Builder
	done := 0
	for _, s := range all {
		if edit, ok := edits[s.start]; ok {
			b.WriteString(text[done:s.start] + edit)
			done = s.end
		}
	}
	out.text = b.String() + text[done:]
	return out, nil
}

// hostPart is where the hosts of a URL are in it: after the user, before the path.
func hostPart(u string) (start, end int) {
	start = strings.Index(u, "://") + len("://")
	end = len(u)
	if i := strings.IndexAny(u[start:], "/?#"); i >= 0 {
		end = start + i
	}
	if i := strings.LastIndex(u[start:end], "@"); i >= 0 {
		start += i + 1
	}
	return start, end
}

func afterHost(u string) string {
	_, end := hostPart(u)
	return u[end:]
}

// readdressURL replaces hosts of a connection URL, which may name several.
func readdressURL(u string, to aim) (string, int) {
	start, end := hostPart(u)
	hits := 0
	hosts := strings.Split(u[start:end], ",")
	for i, h := range hosts {
		host, port := splitAddress(h)
		toHost, toPort, hit := to(host, port)
		if host == "" || !hit {
			continue
		}
		hits++
		hosts[i] = withPort(toHost, toPort, port != 0)
	}
	return u[:start] + strings.Join(hosts, ",") + u[end:], hits
}

// withPort writes an address as URLs have it. The standard port is left out, unless it was said before.
func withPort(host string, port int, said bool) string {
	if said || port != standardPort {
		return net.JoinHostPort(host, strconv.Itoa(port))
	}
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// readdressLines replaces addresses in lines of variables.
func readdressLines(text string, to aim) aimed {
	lines := strings.Split(text, "\n")
	p := &payload{form: formEnv, lines: slices.Clone(lines)}
	out := aimed{}
	host, _ := p.variable("PGHOST")
	said, hasPort := p.variable("PGPORT")
	port, _ := strconv.Atoi(said) // 0: not said
	toHost, toPort, hit := to(host, port)
	hit = hit && host != ""
	if hit {
		out.hits++
		p.setVariable("PGHOST", toHost)
		p.setVariable("PGPORT", strconv.Itoa(toPort))
	}
	if raw, ok := p.variable("DATABASE_URL"); ok && strings.Contains(raw, "://") {
		u, hits := readdressURL(raw, to)
		out.hits += hits
		p.setVariable("DATABASE_URL", u)
		out.rest = append(out.rest, field{"the rest of DATABASE_URL", afterHost(u)})
	}
	var all []string
	for i, line := range p.lines {
		if strings.HasSuffix(lines[i], "\r") && !strings.HasSuffix(line, "\r") {
			line += "\r"
		}
		all = append(all, line)
		name, value, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "export ")), "=")
		if lines[i] == line && name != "DATABASE_URL" && name != "PGHOST" && value != "" {
			out.rest = append(out.rest, field{name, value})
		}
		if hit && name == "PGHOST" && !hasPort && toPort != standardPort {
			head, _, _ := strings.Cut(line, "PGHOST")
			all = append(all, head+"PGPORT="+strconv.Itoa(toPort))
		}
	}
	out.text = strings.Join(all, "\n")
	return out
}

// naming are the fields whose text holds one of the words, which is a host.
func naming(rest []field, words []string) (names []string) {
	for _, f := range rest {
		if slices.ContainsFunc(words, func(w string) bool { return w != "" && strings.Contains(strings.ToLower(f.text), strings.ToLower(w)) }) {
			names = append(names, f.name)
		}
	}
	return names
}
