package roles

import (
	"maps"
	"slices"
	"strings"
)

type pair struct{ role, member string }

// merged is what all grants of a role to a member come to.
func merged(all []Membership) map[pair]Membership {
	out := map[pair]Membership{}
	for _, g := range all {
		p := pair{g.Role, g.Member}
		one := out[p]
		out[p] = Membership{Role: g.Role, Member: g.Member, Admin: one.Admin || g.Admin, Inherit: one.Inherit || g.Inherit, Set: one.Set || g.Set}
	}
	return out
}

// covers tells whether what is there suffices. Before 16 only ADMIN is an option.
func covers(has, want Membership, major int) bool {
	if want.Admin && !has.Admin {
		return false
	}
	return major < 16 || (has.Inherit || !want.Inherit) && (has.Set || !want.Set)
}

// wanted are the memberships as the target should have them, in an order in which whoever grants has been given the right to.
func (m *Model) wanted(target *Model, leave func(what, why string)) []Membership {
	exact := target.Superuser && m.Major >= 16
	all := m.Memberships
	if !exact {
		all = slices.SortedFunc(maps.Values(merged(all)), func(a, b Membership) int {
			return strings.Compare(a.Role+"\x00"+a.Member, b.Role+"\x00"+b.Member)
		})
	}
	there, here := target.index(), m.index()
	tokenHere, tokenThere := m.byToken(), target.byToken()
	var out []Membership
	for _, g := range all {
		switch {
		case g.Member == m.Bootstrap, m.provided(g.Role) && m.provided(g.Member): // its own affair
			continue
		case g.Role == m.Bootstrap && !target.Superuser:
			leave(g.String(), "it would give a superuser's rights")
			continue
		case g.Role == m.Bootstrap:
			g.Role = target.Bootstrap
		case m.provided(g.Role) && there[g.Role] == nil:
			leave(g.String(), missingRole(g.Role, target.Major))
			continue
		case m.provided(g.Member) && there[g.Member] == nil:
			leave(g.String(), missingRole(g.Member, target.Major))
			continue
		case g.Member == target.Login && !tokenThere[g.Member] && (tokens.MatchString(g.Role) || tokenHere[g.Role]):
			leave(g.String(), "the login that does this could then log in only with a token")
			continue
		}
		if g.Member == target.Bootstrap || g.Role == g.Member {
			continue
		}
		if g.Grantor != "" && (!exact || here[g.Grantor] == nil || m.provided(g.Grantor) && there[g.Grantor] == nil) {
			g.Grantor = ""
		}
		out = append(out, g)
	}
	return inOrder(out)
}

// inOrder puts grants after those that let their grantors make them.
func inOrder(all []Membership) []Membership {
	may := map[pair]bool{}
	var out []Membership
	for len(all) > 0 {
		var later []Membership
		for _, g := range all {
			if g.Grantor != "" && !may[pair{g.Role, g.Grantor}] {
				later = append(later, g)
				continue
			}
			if g.Admin {
				may[pair{g.Role, g.Member}] = true
			}
			out = append(out, g)
		}
		if len(later) == len(all) { // their grantors may not, or no longer: who does this grants them
			for i := range later {
				later[i].Grantor = ""
			}
		}
		all = later
	}
	return out
}

// together works out what to grant, and grants roles to many at once, for the reason that [applier.whole] has.
func (a *applier) together() {
	has := merged(a.target.Memberships)
	rows := map[Membership]bool{}
	for _, g := range a.target.Memberships {
		rows[g] = true
	}
	exact := a.target.Superuser && a.Major >= 16
	for _, g := range a.wanted(a.target, a.leave) {
		was, there := has[pair{g.Role, g.Member}]
		if exact && rows[g] || !exact && there && covers(was, g, a.target.Major) {
			continue
		}
		if !exact {
			g.Admin, g.Inherit, g.Set = g.Admin || was.Admin, g.Inherit || was.Inherit, g.Set || was.Set
		}
		if g.Member == a.target.Login && !a.target.Superuser && a.target.Major >= 16 { // whoever makes a role administers it, and cannot give that to itself
			if g.Admin && !was.Admin && a.there[g.Role] != nil && !a.made[g.Role] {
				a.leave("ADMIN OPTION of "+g.String(), "nobody can give that to itself")
			}
			g.Admin = false
			if !g.Inherit && !g.Set {
				continue
			}
		}
		a.grants = append(a.grants, g)
	}
	alike := map[Membership][]string{}
	var order []Membership
	for _, g := range a.grants {
		if a.plain(g) {
			key := g
			key.Member = ""
			if alike[key] == nil {
				order = append(order, key)
			}
			alike[key] = append(alike[key], g.Member)
		}
	}
	for _, key := range order {
		for some := range slices.Chunk(alike[key], chunk) {
			var names []string
			for _, n := range some {
				names = append(names, quoted(n))
			}
			a.group++
			a.items = append(a.items, item{Group: a.group, SQL: "grant " + quoted(key.Role) + " to " + strings.Join(names, ", ") + with(key, a.target.Major), hide: true, done: func() {
				for _, member := range some {
					a.granted[pair{key.Role, member}] = true
				}
			}})
		}
	}
}

// memberships are the grants that are left.
func (a *applier) memberships() {
	for _, g := range a.grants {
		if !a.plain(g) || !a.granted[pair{g.Role, g.Member}] {
			a.grant(g)
		}
	}
}

// plain tells a grant that can be made with others: nothing need be known of it to take it back.
func (a *applier) plain(g Membership) bool {
	return a.made[g.Member] && g.Grantor == "" && !g.Admin && g.Member != a.target.Login
}

func (a *applier) grant(g Membership) {
	what, by := g.String(), ""
	if g.Grantor != "" {
		by = " granted by " + quoted(g.Grantor)
	}
	to := quoted(g.Role) + " to " + quoted(g.Member)
	a.apart("grant "+to+with(g, a.target.Major)+by, what, func() {
		if a.made[g.Role] || a.made[g.Member] { // it goes with them
			return
		}
		undo := "revoke " + quoted(g.Role) + " from " + quoted(g.Member) + by
		if was, there := a.prior(g); there {
			undo = "grant " + to + with(was, a.target.Major) + by
			if a.target.Major < 16 {
				undo = "revoke admin option for " + quoted(g.Role) + " from " + quoted(g.Member)
			}
		}
		a.r.Changed = append(a.r.Changed, Change{what, undo})
	})
}

// prior is the grant that one changes: that of the same grantor.
func (a *applier) prior(g Membership) (Membership, bool) {
	by := g.Grantor
	if by == "" && !a.target.Superuser {
		by = a.target.Login
	}
	for _, was := range a.target.Memberships {
		if was.Role == g.Role && was.Member == g.Member && (a.target.Major < 16 || was.Grantor == by) {
			return was, true
		}
	}
	return g, false
}

func with(g Membership, major int) string {
	switch {
	case major >= 16:
		return " with " + g.options()
	case g.Admin:
		return " with admin option"
	default:
		return ""
	}
}
