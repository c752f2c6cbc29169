package web

import (
	"context"
	"net/http"
	"time"

	"github.com/mvscheduler/mvscheduler/internal/doctor"
)

type doctorBody struct {
	Findings []doctor.Finding
	Bad      int // errors and warnings
	More     int // findings that are not listed
}

// findingsAtMost are listed, the worst first.
const findingsAtMost = 200

func (s *Server) doctorPage(ctx context.Context, _ *http.Request) (page, error) {
	found, err := s.Examine(ctx)
	b := doctorBody{Findings: found}
	for _, f := range found {
		if f.Severity != doctor.Note {
			b.Bad++
		}
	}
	if n := len(found); n > findingsAtMost {
		b.Findings, b.More = found[:findingsAtMost], n-findingsAtMost
	}
	return page{Title: "Doctor", JSON: "/api/v1/doctor", AsOf: time.Now(), Body: b}, err
}
