package device

// TokenKey lets tests forge tokens.
func (a *Authenticator) TokenKey() []byte { return a.registry.secrets.token }
