#!/bin/sh
# Stands in for an agent that needs an account: answers its prompt in the JSON of `claude -p --output-format json`.
words=$(wc -w | tr -d ' ')
cat <<END
{"type": "result", "subtype": "success", "is_error": false, "result": "I have read $words words. Nothing is urgent.",
 "session_id": "5b3f6c1e-6a0f-4a57-9a39-0d2f3f6f7b10", "total_cost_usd": 0.0132, "permission_denials": [],
 "modelUsage": {"demo-1": {"inputTokens": $((words * 2)), "outputTokens": 14, "costUSD": 0.0132}}}
END
