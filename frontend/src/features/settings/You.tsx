import { Alert, Button, PasswordInput, Stack, Text } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { answer, api } from "@/api/client";
import { sessionQuery } from "@/api/queries";
import { Section } from "@/ui/Page";
import { Failure } from "@/ui/states";

export function You() {
  const { data: session } = useQuery(sessionQuery);
  const [current, setCurrent] = useState("");
  const [password, setPassword] = useState("");
  const client = useQueryClient();
  const hasPassword = session?.user?.has_password ?? false;
  const change = useMutation({
    mutationFn: () =>
      answer(
        api.POST("/v1/fettle/session/password", {
          body: hasPassword ? { password, current_password: current } : { password },
        }),
      ),
    onSuccess: () => {
      setCurrent("");
      setPassword("");
      client.invalidateQueries(sessionQuery);
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    change.mutate();
  };
  return (
    <Section
      title="Your password"
      lead={
        hasPassword
          ? "A new one ends your sessions in other browsers."
          : "You have none yet: only sign-in links let you in."
      }
    >
      <Stack component="form" onSubmit={submit} gap="sm" maw={360}>
        <Text size="sm">Signed in as {session?.user?.email}</Text>
        {hasPassword && (
          <PasswordInput
            label="Current password"
            autoComplete="current-password"
            required
            withAsterisk={false}
            value={current}
            onChange={(event) => setCurrent(event.currentTarget.value)}
            visibilityToggleButtonProps={{ "aria-label": "Show the current password" }}
          />
        )}
        <PasswordInput
          label="New password"
          description="At least eight characters, and not a common one"
          autoComplete="new-password"
          required
          withAsterisk={false}
          value={password}
          onChange={(event) => setPassword(event.currentTarget.value)}
          visibilityToggleButtonProps={{ "aria-label": "Show the new password" }}
        />
        <Button type="submit" loading={change.isPending} style={{ alignSelf: "flex-start" }}>
          Set the password
        </Button>
        {change.isError && <Failure error={change.error} />}
        {change.isSuccess && (
          <Alert color="green" role="status">
            The password is set.
          </Alert>
        )}
      </Stack>
    </Section>
  );
}
