package main

import (
	"slices"
	"strings"
	"testing"
)

func TestArgumentsOfAUsageLine(t *testing.T) {
	t.Parallel()
	for use, want := range map[string]string{
		"status [INSTANCE]":                      "INSTANCE",
		"rotate -e ENV [CONTAINER]...":           "CONTAINER...",
		"plan -e ENV [DATABASE...]":              "DATABASE...",
		"set regional|zonal -e ENV INSTANCE":     "regional|zonal INSTANCE",
		"plan -e ENV INSTANCE --to MAJOR":        "INSTANCE",
		"psql -e ENV DATABASE [-- ARGUMENT...]":  "DATABASE",
		"proxy -e ENV [-- COMMAND...]":           "",
		"status [-e ENV] [DATABASE...]":          "DATABASE...",
		"cancel -e ENV INSTANCE PID...":          "INSTANCE PID...",
		"stop -e ENV | --pid PID | --all":        "",
		"rollout ENVIRONMENT/CONTAINER":          "ENVIRONMENT/CONTAINER",
		"decide RUN retry|undo|continue|abandon": "RUN retry|undo|continue|abandon",
		"create-client -e ENV INSTANCE NAME":     "INSTANCE NAME",
		"lint [FILES|FOLDERS|DATABASES...]":      "FILES|FOLDERS|DATABASES...",
		"adopt -e ENV CONTAINER --login ROLE":    "CONTAINER",
		"list":                                   "",
	} {
		if got := arguments(use); !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%s: %q", use, got)
		}
	}
}
