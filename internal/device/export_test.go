package device

import "github.com/tandem-call/tandem/wire"

// IDOf shows tests how an id comes from a key.
func IDOf(tenant wire.TenantID, key wire.JWK) wire.DeviceID { return idOf(tenant, key) }

// TokenKey lets tests forge tokens.
func (a *Authenticator) TokenKey() []byte { return a.registry.secrets.token }
