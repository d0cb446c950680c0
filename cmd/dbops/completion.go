package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"dbops/internal/config"
)

// completes lets shells offer what stands in dbops.yaml for the arguments that usage lines name, and for the flags that take the same. It asks
// nothing but that file: a shell waits for it at each press of tab.
func (c *cli) completes(cmd *cobra.Command) {
	if words := arguments(cmd.Use); cmd.ValidArgsFunction == nil && len(cmd.ValidArgs) == 0 && len(words) > 0 {
		cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			i := len(args)
			if last := len(words) - 1; i > last && strings.HasSuffix(words[last], "...") {
				i = last
			}
			if i >= len(words) {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return c.offers(cmd, words[i], args, typed)
		}
	}
	for flag, word := range map[string]string{
		"env": "ENV", "instance": "INSTANCE", "container": "CONTAINER", "access": "read|write|admin", "output": "text|json",
		"theme": "auto|dark|light|high-contrast|colour-blind", "tls": "allow|require",
	} {
		if f := cmd.LocalFlags().Lookup(flag); f != nil && f.Value.Type() == "string" {
			_ = cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
				return c.offers(cmd, word, args, typed)
			})
		}
	}
	for _, sub := range cmd.Commands() {
		c.completes(sub)
	}
}

// arguments are the words of a usage line that stand for arguments, without brackets.
func arguments(use string) []string {
	var out []string
	words := strings.Fields(use)
	for i := 1; i < len(words); i++ {
		w := words[i]
		switch {
		case w == "--" || w == "[--": // what follows is another program's
			return out
		case strings.HasPrefix(strings.TrimLeft(w, "["), "-"): // a flag, and its value
			i++
			continue
		case w == "|":
			continue
		}
		dots := strings.HasSuffix(w, "...")
		if w = strings.TrimRight(strings.Trim(strings.TrimSuffix(w, "..."), "[]"), "."); dots || strings.HasSuffix(words[i], "...]") {
			w += "..."
		}
		out = append(out, w)
	}
	return out
}

// offers are the values for one word of a usage line, without those that were given already.
func (c *cli) offers(cmd *cobra.Command, word string, given []string, typed string) ([]string, cobra.ShellCompDirective) {
	word = strings.TrimSuffix(word, "...")
	if strings.Contains(word, "|") && strings.ToLower(word) == word {
		return begin(strings.Split(word, "|"), given, typed), cobra.ShellCompDirectiveNoFileComp
	}
	var names func(*config.Environment) []string
	switch word {
	case "ENV", "ENVIRONMENT/CONTAINER":
	case "INSTANCE":
		names = (*config.Environment).InstanceNames
	case "DATABASE":
		names = (*config.Environment).DatabaseNames
	case "CONTAINER":
		names = (*config.Environment).ContainerNames
	default: // files, and what only the state knows
		return nil, cobra.ShellCompDirectiveDefault
	}
	cfg, err := c.load()
	if err != nil {
		return cobra.AppendActiveHelp(nil, oneBlock(err.Error())), cobra.ShellCompDirectiveNoFileComp
	}
	var all []string
	chosen := ""
	if f := cmd.Flags().Lookup("env"); f != nil {
		chosen = f.Value.String()
	}
	for _, name := range cfg.EnvironmentNames() {
		env := cfg.Environments[name]
		switch {
		case word == "ENV":
			all = append(all, name)
		case names == nil:
			for _, container := range env.ContainerNames() {
				all = append(all, name+"/"+container)
			}
		case chosen == "" || chosen == name:
			all = append(all, names(env)...)
		}
	}
	slices.Sort(all)
	return begin(slices.Compact(all), given, typed), cobra.ShellCompDirectiveNoFileComp
}

// begin keeps what begins with what was typed, and was not given.
func begin(all, given []string, typed string) []string {
	return slices.DeleteFunc(all, func(s string) bool { return !strings.HasPrefix(s, typed) || slices.Contains(given, s) })
}
