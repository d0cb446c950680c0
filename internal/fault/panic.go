package fault

import (
	"fmt"
	"runtime/debug"
)

// Panic is a panic that was recovered, as the cause of an [Error].
type Panic struct {
	Value any
	Stack []byte
}

// Recovered makes an error of what recover returned, with the stack that led there. It is called by the function that recovers.
func Recovered(op string, v any) *Error {
	return New(Internal, op, &Panic{v, debug.Stack()}).Hint("this is a bug in dbops: report it")
}

// Error is the panic without its stack.
func (p *Panic) Error() string { return fmt.Sprintf("panic: %v", p.Value) }
