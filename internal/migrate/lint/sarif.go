package lint

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"path/filepath"
	"strings"
)

// The parts of SARIF 2.1.0 that a report uses.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool       sarifTool     `json:"tool"`
		ColumnKind string        `json:"columnKind"`
		Results    []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name    string      `json:"name"`
		Version string      `json:"version,omitempty"`
		Rules   []sarifRule `json:"rules"`
	}
	sarifText struct {
		Text     string `json:"text"`
		Markdown string `json:"markdown,omitempty"`
	}
	sarifRule struct {
		ID      string         `json:"id"`
		Short   sarifText      `json:"shortDescription"`
		Full    sarifText      `json:"fullDescription"`
		Help    sarifText      `json:"help"`
		Default map[string]any `json:"defaultConfiguration"`
	}
	sarifResult struct {
		RuleID       string             `json:"ruleId"`
		RuleIndex    int                `json:"ruleIndex"`
		Level        string             `json:"level"`
		Message      sarifText          `json:"message"`
		Locations    []sarifLocation    `json:"locations"`
		Fingerprints map[string]string  `json:"partialFingerprints"`
		Suppressions []sarifSuppression `json:"suppressions,omitempty"`
	}
	sarifLocation struct {
		Physical sarifPhysical `json:"physicalLocation"`
	}
	sarifPhysical struct {
		Artifact map[string]string `json:"artifactLocation"`
		Region   sarifRegion       `json:"region"`
	}
	sarifRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn"`
	}
	sarifSuppression struct {
		Kind          string `json:"kind"`
		Justification string `json:"justification"`
	}
)

var sarifLevels = map[Severity]string{Error: "error", Warn: "warning", Info: "note"}

// SARIF is the report as a log of SARIF 2.1.0, to be written as JSON.
func (r *Report) SARIF(version string) any {
	run := sarifRun{Tool: sarifTool{sarifDriver{Name: "dbops migrate lint", Version: version}}, ColumnKind: "unicodeCodePoints", Results: []sarifResult{}}
	index := map[string]int{}
	generic := strings.NewReplacer("{table}", "t", "{names}", "...", "{column}", "c", "{name}", "n", "{type}", "another type", "{sql}", "...")
	for i, rule := range Rules() {
		index[rule.ID] = i
		help := generic.Replace(rule.Why)
		markdown := help
		if rule.Rewrite != "" {
			help += "\n\n" + generic.Replace(rule.Rewrite)
			markdown += "\n\n```sql\n" + generic.Replace(rule.Rewrite) + "\n```"
		}
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{
			ID: rule.ID, Short: sarifText{Text: generic.Replace(rule.Title)}, Full: sarifText{Text: generic.Replace(rule.Why)},
			Help: sarifText{Text: help, Markdown: markdown}, Default: map[string]any{"level": sarifLevels[rule.Severity]},
		})
	}
	for _, f := range r.Findings {
		uri := (&url.URL{Path: filepath.ToSlash(f.File)}).EscapedPath()
		sum := sha256.Sum256([]byte(f.Rule + "\x00" + filepath.Base(f.File) + "\x00" + f.Statement + "\x00" + f.Object + "\x00" + f.Title))
		result := sarifResult{
			RuleID: f.Rule, RuleIndex: index[f.Rule], Level: sarifLevels[f.Severity], Message: sarifText{Text: f.message()},
			Locations:    []sarifLocation{{sarifPhysical{map[string]string{"uri": uri}, sarifRegion{max(1, f.Line), max(1, f.Column)}}}},
			Fingerprints: map[string]string{"dbopsMigrateLint/v1": hex.EncodeToString(sum[:16])},
		}
		if f.Allowed != "" {
			result.Suppressions = []sarifSuppression{{"inSource", f.Allowed}}
		}
		run.Results = append(run.Results, result)
	}
	return sarifLog{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []sarifRun{run}}
}
