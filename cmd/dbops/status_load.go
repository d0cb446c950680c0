package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	humanize "github.com/dustin/go-humanize"

	"dbops/internal/app"
	"dbops/internal/cloud"
	"dbops/internal/fault"
)

// loadPatience is how long the status waits, from its beginning, for what the providers measure.
const loadPatience = 5 * time.Second

// nearlyFull is the share of a disk in use that deserves a look.
const nearlyFull = 0.9

// loadsBeside begins to ask what the providers measure; what it returns waits for the answers, by environment/instance. Nothing depends on them:
// without an answer it says why.
func loadsBeside(ctx context.Context, a *app.App, env, instance string) func() map[string]app.InstanceLoad {
	stream, err := a.Loads(ctx, env, instance)
	return func() map[string]app.InstanceLoad {
		out := map[string]app.InstanceLoad{}
		if err != nil { // the status says the same
			return out
		}
		for l := range stream {
			out[l.Environment+"/"+l.Name] = l
		}
		return out
	}
}

// printLoad says what a provider measures of an instance; nothing where nobody measures it.
func printLoad(w *bytes.Buffer, l app.InstanceLoad, now time.Time) {
	name := l.Environment + "/" + l.Name
	switch {
	case errors.Is(l.Err, cloud.ErrUnsupported):
	case l.Err != nil:
		fmt.Fprintf(w, "\n~ %s  its load is not known: %s\n", name, oneBlock(l.Err.Error()))
		if hint := fault.HintOf(l.Err); hint != "" {
			fmt.Fprintf(w, "  next: %s\n", oneBlock(hint))
		}
	case l.Load != nil:
		mark := " "
		if full(l.Load) >= nearlyFull {
			mark = "!"
		}
		fmt.Fprintf(w, "\n%s %s  load, as measured %s ago: %s\n", mark, name, now.Sub(l.Load.At).Round(time.Second), loadWords(l.Load))
	}
}

// full is the share of the disk that is in use; 0 if it is not known.
func full(l *cloud.Load) float64 {
	if l.StorageUsed == nil || l.StorageFree == nil || *l.StorageUsed+*l.StorageFree == 0 {
		return 0
	}
	return float64(*l.StorageUsed) / float64(*l.StorageUsed+*l.StorageFree)
}

func loadWords(l *cloud.Load) string {
	var words []string
	if l.CPU != nil {
		words = append(words, fmt.Sprintf("CPU %.0f%%", *l.CPU*100))
	}
	if l.Connections != nil {
		words = append(words, fmt.Sprintf("connections %d", *l.Connections))
	}
	bytes := func(n int64) string { return humanize.IBytes(uint64(max(0, n))) }
	switch {
	case l.StorageUsed != nil && l.StorageFree != nil:
		words = append(words, fmt.Sprintf("storage %s used (%.0f%%), %s free", bytes(*l.StorageUsed), math.Floor(full(l)*100), bytes(*l.StorageFree)))
	case l.StorageUsed != nil:
		words = append(words, "storage "+bytes(*l.StorageUsed)+" used")
	case l.StorageFree != nil:
		words = append(words, "storage "+bytes(*l.StorageFree)+" free")
	}
	if l.ReplicaLag != nil {
		words = append(words, "replica lag "+l.ReplicaLag.Round(time.Millisecond).String())
	}
	return strings.Join(words, ", ")
}
