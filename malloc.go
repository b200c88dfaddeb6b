//go:build cgo && malloc

package openssl

// MadeSessions is what s has for its store, in DER. It is for internal/malloc.
func (s *SSL) MadeSessions() (ders [][]byte) {
	for _, made := range s.takeNewSessions() {
		ders = append(ders, made.DER)
	}
	return ders
}
