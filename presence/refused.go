package presence

import "fmt"

// Ground is why an entry is refused.
type Ground uint8

const (
	Blocked  Ground = iota // the user is (Keys.Block)
	Revoked                // the credential is (Keys.Revoked)
	Outdated               // the credential is older than Keys.ValidAfter or Keys.ValidAfterUser
	Used                   // the credential has let in another connection (Keys.Used)

	GroundCount = iota
)

var groundNames = [GroundCount]string{"blocked", "revoked", "outdated", "used"}

func (g Ground) String() string { return groundNames[g] }

// Refused is the error of an entry against which a key in Redis speaks.
type Refused struct {
	Ground Ground
	Key    string
	Value  string // of the key: for Blocked and Revoked a reason for people, cut after 256 bytes
}

// maxReason bounds Refused.Value, in bytes.
const maxReason = 256

func (r *Refused) Error() string {
	return fmt.Sprintf("presence: refused: %s (%s)", r.Ground, r.Key)
}
