package screen

import (
	"dbops/internal/app"
	"dbops/internal/config"
)

// The command lines that do what the screen does. They are the CLI's own words: a change there is a change here.

// CLIStatus shows the instances of env, of all environments when env is empty.
func CLIStatus(env string) []string {
	args := []string{"dbops", "status"}
	if env != "" {
		args = append(args, "-e", env)
	}
	return args
}

// CLIInstance shows one instance.
func CLIInstance(env, name string) []string { return append(CLIStatus(env), name) }

// CLIInstanceJSON shows one instance with the provider's own description.
func CLIInstanceJSON(env, name string) []string {
	return append(CLIInstance(env, name), "-o", "json")
}

// CLIProxy opens the proxy of an environment.
func CLIProxy(o app.ProxyOptions) []string {
	args := []string{"dbops", "proxy", "-e", o.Environment}
	if o.Access != "" && o.Access != config.Read {
		args = append(args, "--access", string(o.Access))
	}
	if o.Reason != "" {
		args = append(args, "--reason", o.Reason)
	}
	if o.Listen != "" {
		args = append(args, "--listen", o.Listen)
	}
	return args
}

// CLIURI prints the connection URI of a database.
func CLIURI(env, database string) []string {
	return []string{"dbops", "conn-uri", "-e", env, database}
}
