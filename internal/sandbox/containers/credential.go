package containers

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"dbops/internal/secret"
)

// Credential is what is delivered to a container: a JSON object. Keys that are not known are ignored.
type Credential struct {
	Engine   string       `json:"engine"` // postgres, or nothing
	Username string       `json:"username"`
	Password secret.Value `json:"-"`
	SSLMode  string       `json:"sslmode"` // verify-full (the default) or verify-ca
	Slot     string       `json:"slot"`
	Place
	// Databases are all of them by name, where there are several.
	Databases map[string]Place `json:"databases"`
}

// Place is where a database is.
type Place struct {
	Host   string      `json:"host"`
	Port   json.Number `json:"port"` // a number, or a string that holds one
	DBName string      `json:"dbname"`
}

// ParseCredential reads a delivered text. No error holds a part of it.
func ParseCredential(text secret.Value) (*Credential, error) {
	var c struct {
		Credential
		Password string `json:"password"`
	}
	if err := json.Unmarshal([]byte(text.Reveal()), &c); err != nil {
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return nil, fmt.Errorf("%q is not of the type it should have", wrong.Field[strings.LastIndexByte(wrong.Field, '.')+1:])
		}
		return nil, errors.New("it is not a JSON object of the agreed shape")
	}
	cred := &c.Credential
	cred.Password = secret.New(c.Password)
	switch {
	case cred.Engine != "" && cred.Engine != "postgres":
		return nil, fmt.Errorf("its engine is %.20q, want postgres", cred.Engine)
	case cred.Username == "":
		return nil, errors.New("it has no username")
	case cred.Password.IsZero():
		return nil, errors.New("it has no password")
	}
	if len(cred.Databases) == 0 {
		cred.Databases = map[string]Place{cred.DBName: cred.Place}
	}
	for name, p := range cred.Databases {
		if p.Host == "" || p.DBName == "" {
			return nil, fmt.Errorf("it does not say where database %q is", name)
		}
		if _, err := p.port(); err != nil {
			return nil, fmt.Errorf("the port of database %q is no port", name)
		}
	}
	return cred, nil
}

func (p Place) port() (uint16, error) {
	n, err := strconv.ParseUint(p.Port.String(), 10, 16)
	if err == nil && n == 0 {
		err = errors.New("port 0")
	}
	return uint16(n), err
}
