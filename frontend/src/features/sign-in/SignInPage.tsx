import { Alert, Button, Code, Paper, PasswordInput, Stack, Text, TextInput, Title } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { type FormEvent, useEffect, useRef, useState } from "react";
import { answer, api } from "@/api/client";
import { sessionQuery } from "@/api/queries";
import type { SessionCreateShapeRequest } from "@/api/schema";
import { safeNext } from "./next";
import classes from "./sign-in.module.css";

export function SignInPage() {
  const [link] = useState(() => window.location.hash.slice(1));
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const client = useQueryClient();
  const navigate = useNavigate();
  const session = useQuery(sessionQuery);
  const next = safeNext(new URLSearchParams(window.location.search).get("next"));
  const signIn = useMutation({
    mutationFn: (body: SessionCreateShapeRequest) => answer(api.POST("/v1/fettle/session", { body })),
    onSuccess: (made) => {
      client.clear();
      client.setQueryData(sessionQuery.queryKey, made);
    },
  });
  const signedIn = session.data?.signed_in;

  const { mutate } = signIn;
  const tried = useRef(false);
  useEffect(() => {
    if (!link || tried.current || signedIn !== false) return;
    tried.current = true;
    // The secret works once; it has no business in the address bar or the history afterwards.
    window.history.replaceState(null, "", window.location.pathname + window.location.search);
    mutate({ link });
  }, [link, signedIn, mutate]);

  useEffect(() => {
    document.title = "Sign in · Fettle";
    if (signedIn) navigate({ href: next, replace: true });
  }, [signedIn, navigate, next]);

  const submit = (event: FormEvent) => {
    event.preventDefault();
    signIn.mutate({ email, password });
  };
  return (
    <main className={classes.page}>
      <Stack w={360} maw="100%" gap="lg">
        <Title order={1} size="h2">
          Sign in to Fettle
        </Title>
        {signIn.isError && (
          <Alert color="red" role="alert">
            {signIn.error.message}
          </Alert>
        )}
        <Paper component="form" onSubmit={submit}>
          <Stack>
            <TextInput
              label="Email"
              type="email"
              autoComplete="username"
              required
              withAsterisk={false}
              value={email}
              onChange={(event) => setEmail(event.currentTarget.value)}
            />
            <PasswordInput
              label="Password"
              autoComplete="current-password"
              required
              withAsterisk={false}
              value={password}
              onChange={(event) => setPassword(event.currentTarget.value)}
              visibilityToggleButtonProps={{ "aria-label": "Show the password" }}
            />
            <Button type="submit" loading={signIn.isPending}>
              Sign in
            </Button>
          </Stack>
        </Paper>
        <Text size="sm" c="dimmed">
          On your own machine there is no password: open the address that <Code>fettle up</Code> printed when it
          started, or print another one with
        </Text>
        <Code block>fettle sign-in --url {window.location.origin}</Code>
      </Stack>
    </main>
  );
}
