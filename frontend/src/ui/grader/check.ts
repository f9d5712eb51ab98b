/** Whether the server can run a definition, asked while it is written. */
import { useDebouncedValue } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { answer, api } from "@/api/client";
import type { GraderValidateRequest } from "@/api/schema";
import type { Definition } from "./kinds";

export function useCheck(definition: Definition | undefined) {
  const [settled] = useDebouncedValue(JSON.stringify(definition), 500);
  return useQuery({
    queryKey: ["validate-grader", settled],
    enabled: settled !== undefined,
    retry: false,
    queryFn: () => {
      const grader = JSON.parse(settled!) as GraderValidateRequest["grader"];
      return answer(api.POST("/v1/fine_tuning/alpha/graders/validate", { body: { grader } }));
    },
  });
}
