package words

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// figureTitles are words for keys of evidence, predicted and measured whose underscores made blanks would not be understood.
var figureTitles = map[string]string{
	"gain_out_of_sample":    "cost of one rate for all hours, in multiples",
	"patience":              "age that adds up until it is refreshed between two slots",
	"patience_before":       "age that adds up until it is refreshed between two slots, before",
	"refresh_seconds":       "a refresh takes",
	"refresh_seconds_p90":   "a refresh takes, nine in ten at most",
	"refresh_seconds_a_day": "refreshes take a day",
	"mean_age_seconds":      "mean age of what readers see",
	"p95_age_seconds":       "age of what readers see, of 19 reads in 20 at most",
	"runs":                  "refreshes that this rests on",
	"unknown_share":         "share of the time of which reads are not known",
	"cost_a_day":            "cost a day, old data included, in seconds of refreshes",
	"cost_low":              "cost a day, on nine days in ten at least",
	"cost_high":             "cost a day, on nine days in ten at most",
}

// evidenceLevels are what the levels of the evidence of reads mean.
var evidenceLevels = map[string]string{
	"L0": "L0 (counters of scans alone)", "L1": "L1 (and calls of statements)", "L2": "L2 (and conditions of statements)",
}

// Figures are the members of a JSON object for people, a line each; what has a value before and one after stands as "title: before ->
// after". What is no object stays JSON; empty when there is nothing.
func Figures(raw json.RawMessage) string {
	var facts map[string]json.RawMessage
	if len(raw) == 0 || string(raw) == "null" {
		return ""
	}
	if json.Unmarshal(raw, &facts) != nil {
		return string(raw)
	}
	values := make(map[string]string, len(facts))
	for key, value := range facts {
		if key == "patience_before" && string(value) == "0" { // no refreshes between two slots
			continue
		}
		values[key] = figure(key, value)
		if both, ok := pair(value); ok {
			values[key] = figure(key, both["before"]) + " -> " + figure(key, both["after"])
		}
	}
	var before, after map[string]json.RawMessage
	if both, ok := pair(raw); ok && json.Unmarshal(both["before"], &before) == nil && json.Unmarshal(both["after"], &after) == nil {
		clear(values)
		for key := range before {
			values[key] = figure(key, before[key]) + " -> " + figure(key, after[key])
		}
	}
	lines := make([]string, 0, len(values))
	for _, key := range slices.Sorted(maps.Keys(values)) {
		title, known := figureTitles[key]
		if !known {
			title = strings.ReplaceAll(key, "_", " ")
		}
		lines = append(lines, title+": "+values[key])
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// pair are the values before and after, where these are all that there is.
func pair(raw json.RawMessage) (both map[string]json.RawMessage, ok bool) {
	ok = json.Unmarshal(raw, &both) == nil && len(both) == 2 && both["before"] != nil && both["after"] != nil
	return both, ok
}

func figure(key string, value json.RawMessage) string {
	var text string
	var number float64
	switch {
	case len(value) == 0 || string(value) == "null":
		return "none"
	case json.Unmarshal(value, &text) == nil:
		if level, known := evidenceLevels[text]; known && key == "level" {
			return level
		}
		return text
	case json.Unmarshal(value, &number) == nil && number >= 0 && isSpan(key):
		return seconds(number)
	case json.Unmarshal(value, &number) == nil && number >= 0 && isSize(key):
		return size(number)
	}
	var compact bytes.Buffer
	if json.Compact(&compact, value) != nil {
		return string(value)
	}
	return compact.String()
}

// isSpan says that the value of a key is a length of time, in seconds. What a row costs is too little to be said as one.
func isSpan(key string) bool {
	return strings.HasPrefix(key, "patience") || strings.Contains(key, "seconds") && !strings.HasSuffix(key, "_a_row")
}

// isSize says that it is a number of bytes.
func isSize(key string) bool { return key == "bytes" || strings.HasPrefix(key, "bytes_") }

// Reasons takes the sentences out of the evidence: people read them line by line.
func Reasons(evidence json.RawMessage) (reasons []string, rest json.RawMessage) {
	var facts map[string]json.RawMessage
	if json.Unmarshal(evidence, &facts) != nil || json.Unmarshal(facts["reasons"], &reasons) != nil {
		return nil, evidence
	}
	delete(facts, "reasons")
	rest, err := json.Marshal(facts)
	if err != nil {
		return nil, evidence
	}
	return reasons, rest
}
