"""The verbs over HTTP: each route makes one service call and answers with its JSON."""
