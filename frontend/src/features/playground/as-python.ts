/** The question as code for the official client. */

interface Asked {
  messages: { role: string; content: string }[];
  temperature: number;
  maxTokens: number;
  numAnswers: number;
}

export function asPython(models: readonly string[], { messages, temperature, maxTokens, numAnswers }: Asked): string {
  return `from fettle import Fettle

client = Fettle()  # FETTLE_BASE_URL, FETTLE_API_KEY
for model in ${JSON.stringify(models)}:
    reply = client.chat.completions.create(
        model=model,
        messages=${JSON.stringify(messages)},
        temperature=${temperature},
        max_completion_tokens=${maxTokens},
        n=${numAnswers},
    )
    for choice in reply.choices:
        print(model, choice.message.content)
`;
}
