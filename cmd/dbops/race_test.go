//go:build race

package main

// raceEnabled builds the program under test as the tests themselves are built.
const raceEnabled = true
