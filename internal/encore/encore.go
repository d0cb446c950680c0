// Package encore reads, patches and writes the formats by which an Encore app is told its databases.
//
// There are three: the infra config of self-hosted apps ([ParseInfra]), ENCORE_RUNTIME_CONFIG of the Go runtime ([ParseRuntime]) and
// ENCORE_APP_SECRETS ([ParseSecrets]). Only the values that change are written anew; everything else keeps its bytes, unknown fields too,
// and where nothing changes the very same text comes out. [Deliver] keeps a file current, [ReadApp] and [Starter] make a dbops.yaml.
package encore

import (
	"slices"
	"strings"

	"dbops/internal/fault"
	"dbops/internal/secret"
)

// Language is what an Encore app is written in. The runtimes of the two read the same infra config differently.
type Language string

// The languages. The zero value is not known.
const (
	Go         Language = "go"
	TypeScript Language = "typescript"
)

// ParseLanguage reads what a flag or an encore.app says: go, ts or typescript.
func ParseLanguage(s string) (Language, error) {
	switch strings.ToLower(s) {
	case "go", "golang":
		return Go, nil
	case "ts", "typescript":
		return TypeScript, nil
	}
	return "", fault.Newf(fault.Usage, "", "unknown language %q", s).Hint("want go or ts")
}

// MaxText bounds what is read, in bytes, before and after unpacking.
const MaxText = 8 << 20

// Database is one database that a config names.
type Database struct {
	Encore   string   `json:"encore_name"`      // by which the app's code asks for it
	Name     string   `json:"database"`         // on the server
	Host     string   `json:"host"`             // as written: a name or address with or without port, or the path of a socket
	Server   int      `json:"server"`           // place in sql_servers, from 0
	Username Origin   `json:"username"`         //
	Password Origin   `json:"password"`         // Text is never set
	CAs      int      `json:"ca_certificates"`  // given for its server
	TLS      string   `json:"tls"`              // what the runtime does with it, in a few words
	Shares   []string `json:"shares,omitempty"` // other databases of the same entry in sql_servers, which host and CA concern too
}

// Origin says where a value comes from: from the text itself, or from a variable of the container's environment. Its zero value is
// nowhere.
type Origin struct {
	Text     string `json:"text,omitempty"`
	Variable string `json:"variable,omitempty"`
	InText   bool   `json:"in_text"`
}

// String is for tables: the text, $VARIABLE, or how it is given.
func (o Origin) String() string {
	switch {
	case o.Variable != "":
		return "$" + o.Variable
	case o.Text != "":
		return o.Text
	case o.InText:
		return secret.Redacted
	}
	return "-"
}

// Change says what a database's entry should hold. What is empty stays as it is.
type Change struct {
	Username string
	Password secret.Value
	Host     string // NAME:PORT, NAME, or the path of a socket; of the whole entry in sql_servers
	CA       string // certificates in PEM format; of the whole entry in sql_servers

	// Inline writes username and password into the text where it names variables of the environment. Without it the names stay, and the
	// [Report] says which variables have to be set.
	Inline bool
}

// The values that a change is about, in reports.
const (
	Username = "username"
	Password = "password"
	Host     = "host"
	CA       = "ca"
)

// Report says what a change did. It holds no secret.
type Report struct {
	Changed   []string   `json:"changed"`             // of username, password, host, ca; empty if all of it was there
	Variables []Variable `json:"variables,omitempty"` // to be set in the container's environment: the text names them and does not hold them
	Inlined   []Variable `json:"inlined,omitempty"`   // which the text named until now, and holds itself
	Warnings  []string   `json:"warnings,omitempty"`
	// OldUsername is the user name that the text had until now, if it changed.
	OldUsername string `json:"old_username,omitempty"`
	// SameUser tells that user or password are asked for of a user that the text names already: the one that is logged in.
	SameUser bool `json:"same_user,omitempty"`
	// CommentsGone tells that the text had comments or trailing commas, which no runtime reads, and has none now.
	CommentsGone bool `json:"comments_gone,omitempty"`
}

// Variable is one variable of a container's environment.
type Variable struct {
	Name  string `json:"name"`
	Holds string `json:"holds"` // username or password
}

// Holding tells how much of a [Change] a text holds already: "yes", "no", or "variable" where only the environment knows. What the
// change leaves alone is "".
type Holding struct {
	Username, Password, Host, CA Answer
}

// Answer is one of Yes, No and InVariable.
type Answer string

// The answers.
const (
	Yes        Answer = "yes"
	No         Answer = "no"
	InVariable Answer = "variable"
)

// All tells whether nothing is missing. What lies in variables cannot be seen, and is not counted as missing.
func (h Holding) All() bool {
	return !slices.Contains([]Answer{h.Username, h.Password, h.Host, h.CA}, No)
}

// malformed is a text that is not what it should be.
func malformed(what string, err error) *fault.Error {
	return fault.New(fault.Config, "read "+what, err)
}
