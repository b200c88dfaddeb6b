package libssl

/*
#cgo noescape osl_end_with_alert
#cgo nocallback osl_end_with_alert
#cgo noescape osl_issue_tickets
#cgo nocallback osl_issue_tickets
#include "refusal.h"
*/
import "C"

// IssueTickets makes the tickets that were kept back.
func (s SSL) IssueTickets(out []byte) Result {
	return result("SSL_new_session_ticket", C.osl_issue_tickets(s.p, bytesPtr(out), C.size_t(len(out))))
}

// EndWithAlert makes a fatal alert, and returns its length. What was made before must
// not be sent any more.
func (s SSL) EndWithAlert(alert uint8, out []byte) int {
	return int(C.osl_end_with_alert(s.p, C.int(alert), bytesPtr(out), C.size_t(len(out))))
}
