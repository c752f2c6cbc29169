// Package words says in words and signs what the catalog knows: spans of time, sizes, states, schedules, the next
// step of a person. The commands and the pages use the same ones. It is pure.
package words
