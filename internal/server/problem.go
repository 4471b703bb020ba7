package server

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"github.com/tandem-call/tandem/internal/agent"
	"github.com/tandem-call/tandem/internal/call"
	"github.com/tandem-call/tandem/internal/coupling"
	"github.com/tandem-call/tandem/internal/credential"
	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/edge/push/sms"
	"github.com/tandem-call/tandem/internal/files"
	"github.com/tandem-call/tandem/internal/guest"
	"github.com/tandem-call/tandem/internal/notify"
	"github.com/tandem-call/tandem/internal/overlay"
	"github.com/tandem-call/tandem/internal/party"
	"github.com/tandem-call/tandem/internal/passport"
	"github.com/tandem-call/tandem/internal/payment"
	"github.com/tandem-call/tandem/internal/place"
	"github.com/tandem-call/tandem/internal/profile"
	"github.com/tandem-call/tandem/internal/session"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/internal/tenant"
	"github.com/tandem-call/tandem/internal/webhook"
	document "github.com/tandem-call/tandem/overlay"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// problems is the one table from errors inside to codes outside; what is not in it is
// "internal" to others and whole in the log. The first that fits counts.
var problems = []struct {
	err  error
	code wire.Code
	// tell: the error's own text helps, and gives nothing away.
	tell bool
}{
	{tel.ErrNumber, wire.CodeBadNumber, true},
	{tel.ErrIdentity, wire.CodeBadIdentity, true},
	{tel.ErrDetails, wire.CodeBadRequest, true},
	{wire.ErrFrame, wire.CodeBadFrame, true},
	{sms.ErrTold, wire.CodeBadRequest, true},
	{sms.ErrMediaType, wire.CodeUnsupportedType, true},

	{device.ErrAssertion, wire.CodeUnauthenticated, false},
	{device.ErrToken, wire.CodeUnauthenticated, false},
	{device.ErrNotFound, wire.CodeUnauthenticated, false},
	{device.ErrRevoked, wire.CodeRevoked, false},
	{device.ErrBindingExpired, wire.CodeBindingExpired, false},
	{device.ErrOtherParty, wire.CodeConflict, true},
	{device.ErrRequest, wire.CodeBadRequest, true},
	{device.ErrKey, wire.CodeBadRequest, true},
	{device.ErrWrongCode, wire.CodeWrongCode, false},
	{device.ErrCodeExpired, wire.CodeCodeExpired, false},
	{device.ErrSender, wire.CodeSenderFailed, false},
	{device.ErrNoMail, wire.CodeForbidden, true},
	{device.ErrLinked, wire.CodeConflict, true},
	{device.ErrSecondHand, wire.CodeSecondHand, true},
	{device.ErrTooMany, wire.CodeTooMany, false},
	{device.ErrBusy, wire.CodeTooMany, false},

	{coupling.ErrWrongCode, wire.CodeWrongCode, false},
	{coupling.ErrExpired, wire.CodeCodeExpired, false},
	{coupling.ErrPending, wire.CodeCouplingPending, false},
	{coupling.ErrNotFound, wire.CodeNotFound, false},
	{coupling.ErrSecondHand, wire.CodeSecondHand, false},
	{coupling.ErrFull, wire.CodeConflict, true},
	{coupling.ErrRequest, wire.CodeBadRequest, true},

	{credential.ErrInvalid, wire.CodeUnauthenticated, false},
	{credential.ErrExpired, wire.CodeUnauthenticated, true},
	{credential.ErrRevoked, wire.CodeUnauthenticated, true},
	{credential.ErrNotFound, wire.CodeNotFound, false},
	{credential.ErrRequest, wire.CodeBadRequest, true},

	{agent.ErrRequest, wire.CodeBadRequest, true},
	{agent.ErrNotFound, wire.CodeNotFound, false},
	{agent.ErrNone, wire.CodeForbidden, true},
	{agent.ErrCode, wire.CodeCodeExpired, true},
	{agent.ErrTaken, wire.CodeConflict, true},
	{agent.ErrInCall, wire.CodeConflict, true},
	{agent.ErrForbidden, wire.CodeForbidden, true},
	{agent.ErrNoLook, wire.CodeConflict, true},
	{agent.ErrAway, wire.CodeConflict, true},
	{agent.ErrFull, wire.CodeConflict, true},

	{tenant.ErrRequest, wire.CodeBadRequest, true},
	{tenant.ErrTaken, wire.CodeConflict, true},

	{party.ErrNotFound, wire.CodeNotFound, true},
	{party.ErrTaken, wire.CodeConflict, true},
	{party.ErrPrincipal, wire.CodeConflict, true},
	{party.ErrRequest, wire.CodeBadRequest, true},

	{call.ErrReport, wire.CodeBadRequest, true},
	{call.ErrTooMany, wire.CodeTooMany, false},
	{call.ErrNoQuestion, wire.CodeNotFound, false},
	{call.ErrWrongWords, wire.CodeWrongWords, false},

	{passport.ErrForm, wire.CodePassport, true},
	{passport.ErrNumbers, wire.CodePassport, true},
	{passport.ErrStale, wire.CodePassport, true},
	{passport.ErrAttestation, wire.CodePassport, true},
	{passport.ErrCertificate, wire.CodePassport, true},
	{passport.ErrSignature, wire.CodePassport, true},
	{passport.ErrReplayed, wire.CodePassport, true},

	{profile.ErrNotFound, wire.CodeNotFound, false},
	{profile.ErrRequest, wire.CodeBadRequest, true},
	{profile.ErrFetch, wire.CodeBadRequest, true},
	{profile.ErrTooLarge, wire.CodeTooLarge, true},
	{profile.ErrType, wire.CodeUnsupportedType, true},
	{profile.ErrClosed, wire.CodeNotMember, false},

	{place.ErrNotFound, wire.CodeNotFound, false},
	{place.ErrRequest, wire.CodeBadRequest, true},
	{place.ErrClosed, wire.CodeNotMember, false},
	{place.ErrConsent, wire.CodeForbidden, true},
	{place.ErrCallOver, wire.CodeConflict, true},
	{place.ErrFull, wire.CodeConflict, true},
	{place.ErrTooMany, wire.CodeTooMany, false},

	{document.ErrInvalid, wire.CodeBadRequest, true},
	{overlay.ErrNotFound, wire.CodeNotFound, true},
	{overlay.ErrRequest, wire.CodeBadRequest, true},
	{overlay.ErrClosed, wire.CodeNotMember, false},
	{overlay.ErrFull, wire.CodeConflict, true},
	{overlay.ErrNumbers, wire.CodeForbidden, true},
	{overlay.ErrSource, wire.CodeConflict, false},

	{payment.ErrNotFound, wire.CodeNotFound, true},
	{payment.ErrRequest, wire.CodeBadRequest, true},
	{payment.ErrNumbers, wire.CodeForbidden, true},
	{payment.ErrFull, wire.CodeConflict, true},
	{payment.ErrNoAccount, wire.CodeConflict, true},
	{payment.ErrEnded, wire.CodeConflict, true},
	{payment.ErrClosed, wire.CodeNotMember, false},
	{payment.ErrGateway, wire.CodePaymentServer, true},
	{payment.ErrRefused, wire.CodePaymentServer, true},
	{payment.ErrSignature, wire.CodeUnauthenticated, true},

	{notify.ErrNotFound, wire.CodeNotFound, false},
	{guest.ErrUsed, wire.CodeConflict, true},
	{guest.ErrRequest, wire.CodeBadRequest, true},

	{webhook.ErrNotFound, wire.CodeNotFound, false},
	{webhook.ErrRequest, wire.CodeBadRequest, true},
	{webhook.ErrTooMany, wire.CodeConflict, true},
	{session.ErrNotAgain, wire.CodeSessionClosed, false},
	{files.ErrNotFound, wire.CodeNotFound, false},
	{files.ErrNotMember, wire.CodeNotMember, false},
	{files.ErrClosed, wire.CodeSessionClosed, false},

	{store.ErrFull, wire.CodeStorageFull, false},
	{store.ErrUncertain, wire.CodeUncertain, false},
	{context.DeadlineExceeded, wire.CodeUncertain, false}, // the cluster has no leader just now
	{context.Canceled, wire.CodeUncertain, false},         // nobody waits for the answer any more
	{store.ErrTooLarge, wire.CodeTooLarge, false},
	{store.ErrClosed, wire.CodeDraining, false},
}

// problem returns what a caller may see of err. log gets what it may not.
func problem(log *slog.Logger, doing string, err error) error {
	if err == nil {
		return nil
	}
	var p *wire.Problem
	if errors.As(err, &p) {
		return p
	}
	for _, k := range problems {
		if !errors.Is(err, k.err) {
			continue
		}
		detail := ""
		if k.tell {
			_, detail, _ = strings.Cut(err.Error(), ": ")
		}
		p := wire.NewProblem(k.code, "%s", detail)
		var later *device.TooMany
		if errors.As(err, &later) {
			p.RetryAfterSeconds = max(1, int(later.RetryAfter.Seconds()))
		}
		if p.Status >= 500 && !errors.Is(err, context.Canceled) {
			log.Warn("request failed", "doing", doing, "err", err)
		}
		return p
	}
	fault := wire.NewID("fault_")
	log.Error("request failed", "fault", fault, "doing", doing, "err", err)
	return wire.NewProblem(wire.CodeInternal, "%s", fault)
}
