package upgrade

import (
	"dbops/internal/op"
)

// runSteps are those of an upgrade, in order. Without a catch-up the copy comes after the writers are kept out; with one, before.
func (r *Room) runSteps(t op.Target, q Request, f facts) []op.Step {
	m := r.moving(t, q, f)
	steps := append(m.provisionSteps(), m.prepareSteps()...)
	if m.q.CatchUp {
		steps = append(steps, m.online()...)
	} else {
		steps = append(steps, m.gate()...)
		steps = append(steps, m.closeSteps()...)
		steps = append(steps, m.lateRoles())
		steps = append(steps, m.fillSteps()...)
		steps = append(steps, m.step(verifyStep, "compare every table, and all else, on both sides", (*moving).verify))
		steps = append(steps, m.switching()...)
	}
	steps = append(steps, m.onward(m.step(observeStep, "watch who logs in where", (*moving).observe)))
	steps = append(steps, m.onward(m.step(keepStep, "keep "+m.from.Name+", the way back", (*moving).keep)))
	title := "take back what the upgrade was allowed on " + m.to.Name
	if m.to.Login != "" {
		title += ", and give " + m.to.Login + " a password that nobody knows: it had that of the admin login"
	}
	return append(steps, m.onward(m.step(sealStep, title, (*moving).seal)))
}

// online are the steps of a catch-up, from the copy beside running clients to the comparison of the moment of the cut-over.
func (m *moving) online() []op.Step {
	steps := append(m.fillSteps(),
		m.undone(m.step("attach", "let "+m.to.Name+" follow what is written to "+m.from.Name, (*moving).attach),
			"end the replication", (*moving).detach),
		m.step("catch-up", "wait until "+m.to.Name+" is near", (*moving).catchUp))
	steps = append(steps, m.gate()...)
	steps = append(steps, m.lateRoles()) // while clients are served
	steps = append(steps, m.closeSteps()...)
	steps = append(steps,
		m.step("drain", "wait for the last writes, and bring the sequences", (*moving).drain),
		m.step(verifyStep, "compare the sequences, and keep both sides as they are, to be compared", (*moving).freeze))
	if m.reversed() {
		steps = append(steps, m.undone(m.step(reverseStep, "keep what will be written to "+m.to.Name+", as the way back", (*moving).keepBack),
			"end the replication in reverse", (*moving).endReverse))
	}
	steps = append(steps, m.switching()...)
	if m.reversed() {
		steps = append(steps, m.onward(m.step("follow-back", "let "+m.from.Name+" follow "+m.to.Name, (*moving).reverse)))
	} else {
		steps = append(steps, m.onward(m.step("detach", "end the replication, with its slot on "+m.from.Name, (*moving).detach)))
	}
	return append(steps, m.onward(m.step(compareStep, "compare all rows as they were at the cut-over", (*moving).compare)))
}

func (m *moving) lateRoles() op.Step {
	return m.step(lateStep, "bring roles that were made since", (*moving).giveLateRoles)
}

func (m *moving) switching() []op.Step {
	back := "make clients use " + m.from.Name + " again; nothing that was written to " + m.to.Name + " may be lost by that"
	if m.reversed() {
		back = "carry back what was written to " + m.to.Name + ", and make clients use " + m.from.Name + " again"
	}
	return []op.Step{
		m.step(markStep, "note how "+m.to.Name+" is before anybody writes to it", (*moving).noteMark),
		m.undone(m.step(switchStep, "make clients use "+m.to.Name, (*moving).moveClients), back, (*moving).switchBack),
	}
}

// onward is a step behind the switch: going back is an operation of its own from there on, which says what it costs.
func (m *moving) onward(s op.Step) op.Step {
	s.Onward = true
	return s
}
