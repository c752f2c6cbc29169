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
}

func (s *Server) doctorPage(ctx context.Context, _ *http.Request) (page, error) {
	found, err := s.Examine(ctx)
	b := doctorBody{Findings: found}
	for _, f := range found {
		if f.Severity != doctor.Note {
			b.Bad++
		}
	}
	return page{Title: "Doctor", JSON: "/api/v1/doctor", AsOf: time.Now(), Body: b}, err
}
