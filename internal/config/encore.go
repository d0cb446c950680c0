package config

import (
	"errors"
	"path/filepath"
	"strings"
)

const encoreScheme = "encore:"

// EncorePlace is an infra.config.json that a container's credential is delivered to, as in encore:deploy/infra.config.json#go.
type EncorePlace struct {
	Path     string
	Language string // go or typescript: what the file's keys mean depends on it
}

// IsEncorePlace tells whether a delivery goes to an infra.config.json.
func IsEncorePlace(place string) bool { return strings.HasPrefix(place, encoreScheme) }

// ParseEncorePlace reads encore:PATH#LANGUAGE.
func ParseEncorePlace(place string) (EncorePlace, error) {
	path, lang, _ := strings.Cut(strings.TrimPrefix(place, encoreScheme), "#")
	switch {
	case path == "":
		return EncorePlace{}, errors.New("the path of the infra.config.json is missing")
	case lang != "go" && lang != "typescript":
		return EncorePlace{}, errors.New("the app's language is missing: Go and TypeScript read the file's keys otherwise")
	}
	return EncorePlace{path, lang}, nil
}

// EncorePlace is a delivery to an infra.config.json; a relative path is below the folder of dbops.yaml.
func (c *Config) EncorePlace(place string) (EncorePlace, error) {
	e, err := ParseEncorePlace(place)
	e.Path = within(filepath.Dir(c.Path), e.Path)
	return e, err
}
