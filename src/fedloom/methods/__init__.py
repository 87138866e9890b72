"""How clients learn and how their replies become one model: one file a method, both halves in it."""
