import { Button, Input, Select, Stack, Text } from "@mantine/core";
import { queryOptions, useQuery } from "@tanstack/react-query";
import { answer, api } from "@/api/client";
import { columnsQuery } from "@/api/datasets";
import { useCheck } from "@/ui/grader/check";
import { DefinitionEditor } from "@/ui/grader/DefinitionEditor";
import { type Definition, KINDS } from "@/ui/grader/kinds";
import { ColumnsContext } from "@/ui/grader/names";

export const gradersQuery = queryOptions({
  queryKey: ["graders"],
  queryFn: () => answer(api.GET("/v1/fettle/graders", { params: { query: { limit: 100 } } })),
});

interface GraderChoiceProps {
  stored: string;
  text: string;
  /** Id of the file with the rows to train on, or nothing yet. */
  training: string;
  onChange: (stored: string, text: string) => void;
  error?: string;
}

/** A stored grader's version, or a definition written here, which the server checks while it is written. */
export function GraderChoice({ stored, text, training, onChange, error }: GraderChoiceProps) {
  const graders = useQuery(gradersQuery);
  const options = (graders.data?.data ?? []).map((grader) => ({
    value: grader.newest.id,
    label: `${grader.name}, version ${grader.newest.number}`,
  }));
  if (stored && !options.some((option) => option.value === stored)) options.push({ value: stored, label: stored });
  const columns = useQuery(columnsQuery(training || null)).data ?? null;
  const check = useCheck(stored ? undefined : parsed(text));
  return (
    <Stack gap="sm">
      <Select
        label="Stored grader"
        data={options}
        value={stored || null}
        onChange={(next) => onChange(next ?? "", text)}
        placeholder="None: written here"
        error={stored ? error : undefined}
        clearable
        clearButtonProps={{ "aria-label": "Write one instead" }}
        w={{ base: "100%", sm: 420 }}
      />
      {!stored && (
        <>
          {text === "" ? (
            <Button
              variant="default"
              style={{ alignSelf: "flex-start" }}
              onClick={() => onChange("", JSON.stringify(KINDS[0]!.example, null, 2))}
            >
              Write one here
            </Button>
          ) : (
            <ColumnsContext value={columns}>
              <DefinitionEditor
                definition={parsed(text) ?? {}}
                onChange={(next) => onChange("", JSON.stringify(next, null, 2))}
              />
            </ColumnsContext>
          )}
          {(error ?? check.error?.message) && <Input.Error size="sm">{error ?? check.error?.message}</Input.Error>}
          {!error && check.isSuccess && (
            <Text size="sm" role="status">
              ✓ The server can run it.
            </Text>
          )}
        </>
      )}
    </Stack>
  );
}

function parsed(text: string): Definition | undefined {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}
