#!/bin/sh
# Stands in for an agent that needs an account: answers its prompt in the JSON of `codex exec --json`, line by line.
words=$(wc -w | tr -d ' ')
echo '{"type": "thread.started", "thread_id": "0199a213-81c0-7800-8aa1-bbab2a035a53"}'
echo '{"type": "turn.started"}'
echo '{"type": "item.completed", "item": {"id": "item_0", "type": "agent_message", "text": "I am looking."}}'
sleep "${DEMO_SECONDS:-3}"
cat <<END
{"type": "item.completed", "item": {"id": "item_1", "type": "agent_message", "text": "I have read $words words. No entry is needed."}}
{"type": "turn.completed", "usage": {"input_tokens": 24763, "cached_input_tokens": 24448, "output_tokens": 122}}
END
