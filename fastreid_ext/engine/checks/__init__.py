"""Start-up checks, a module a subject: each is one sentence that says what to change."""
