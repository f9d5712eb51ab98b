/** The standard states of every list and panel. Use `Loaded`, which chooses among them. */
import { Alert, Button, Skeleton, Stack, Text } from "@mantine/core";
import type { UseQueryResult } from "@tanstack/react-query";
import { type ReactNode, useEffect, useState } from "react";
import { ApiError } from "../api/errors";
import classes from "./ui.module.css";

interface LoadedProps<T> {
  query: UseQueryResult<T>;
  /** Lines of the skeleton, about as tall as what will come. */
  lines?: number;
  /** Given when the data may be empty: says whether it is, and what to show then. */
  isEmpty?: (data: T) => boolean;
  empty?: ReactNode;
  children: (data: T) => ReactNode;
}

/** Renders a query: skeleton, failure, nothing-here, or its data; data stays when a refresh fails, which `Connection` says. */
export function Loaded<T>({ query, lines = 5, isEmpty, empty, children }: LoadedProps<T>) {
  if (query.data === undefined) {
    if (query.isError) return <Failure error={query.error} onRetry={() => query.refetch()} />;
    return <Waiting lines={lines} />;
  }
  return <>{isEmpty?.(query.data) ? empty : children(query.data)}</>;
}

/** Nothing for 300 ms, so that what is fast does not flicker; then grey lines of the final size. */
export function Waiting({ lines = 5 }: { lines?: number }) {
  const [slow, setSlow] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setSlow(true), 300);
    return () => clearTimeout(timer);
  }, []);
  return (
    <Stack gap="sm" aria-busy="true" role="status" aria-label="Loading">
      {Array.from({ length: lines }, (_, line) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: equal lines
        <Skeleton key={line} height={20} visible={slow} className={slow ? undefined : classes.unseen} />
      ))}
    </Stack>
  );
}

export function Failure({ error, onRetry }: { error: unknown; onRetry?: () => void }) {
  if (error instanceof ApiError && error.status === 403) return <Denied message={error.message} />;
  const requestId = error instanceof ApiError ? error.requestId : null;
  return (
    <Alert color="red" title={onRetry ? "This could not be loaded" : "This did not work"} role="alert">
      <Text size="sm">{error instanceof Error ? error.message : String(error)}</Text>
      {requestId && (
        <Text size="xs" mt={4}>
          Request {requestId} in the server's log
        </Text>
      )}
      {onRetry && (
        <Button mt="sm" size="xs" variant="default" onClick={onRetry}>
          Try again
        </Button>
      )}
    </Alert>
  );
}

export function Denied({ message }: { message: string }) {
  return (
    <Alert color="orange" title="You may not see this" role="alert">
      <Text size="sm">{message}</Text>
    </Alert>
  );
}

/** One sentence, and what to do about it. */
export function Empty({ title, children, action }: { title: string; children?: ReactNode; action?: ReactNode }) {
  return (
    <Stack className={classes.empty} gap="xs" align="flex-start">
      <Text fw={600}>{title}</Text>
      {children && (
        <Text size="sm" c="dimmed" maw={560} component="div">
          {children}
        </Text>
      )}
      {action}
    </Stack>
  );
}
