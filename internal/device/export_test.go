package device

// TokenKey lets tests forge tokens.
func (a *Authenticator) TokenKey() []byte { return a.registry.signing().token }

// Taken are the secrets that are taken now.
func (r *Registry) Taken() []secrets { return r.taken() }
