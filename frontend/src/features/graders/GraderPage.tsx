import { Alert, Button, Group, SimpleGrid, Stack, Tabs, Text, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { type FormEvent, useState } from "react";
import { answer, api } from "@/api/client";
import { columnsQuery } from "@/api/datasets";
import type { StoredGraderShape } from "@/api/schema";
import { Confirm } from "@/ui/Confirm";
import { useCheck } from "@/ui/grader/check";
import { DefinitionEditor } from "@/ui/grader/DefinitionEditor";
import { type Definition, itemFields, KINDS } from "@/ui/grader/kinds";
import { type Columns, ColumnsContext } from "@/ui/grader/names";
import { Page, Section } from "@/ui/Page";
import { Loaded } from "@/ui/states";
import { Batch } from "./Batch";
import { Calibrate } from "./Calibrate";
import { useDataset } from "./Dataset";
import { graderQuery, gradersQuery } from "./queries";
import { RedTeam } from "./RedTeam";
import { Regrade } from "./Regrade";
import { TryOne } from "./TryOne";
import { Versions } from "./Versions";

const route = getRouteApi("/frame/graders/$graderId");

export function GraderPage() {
  const { graderId } = route.useParams();
  const stored = useQuery(graderQuery(graderId));
  if (graderId === "new") return <Workbench key="new" stored={null} />;
  return (
    <Loaded query={stored} lines={12}>
      {(grader) => <Workbench key={grader.id} stored={grader} />}
    </Loaded>
  );
}

const INTENT = "The rule that says how good an answer is. Write it on the left, see on the right what it does.";

function Workbench({ stored }: { stored: StoredGraderShape | null }) {
  const [definition, setDefinition] = useState<Definition>(stored?.newest.grader ?? KINDS[0]!.example);
  const { tab = "try" } = route.useSearch();
  const navigate = route.useNavigate();
  const { file } = useDataset();
  const columns = useQuery(columnsQuery(file)).data ?? null;
  return (
    <Page
      title={stored?.name ?? "New grader"}
      lead={stored ? `Version ${stored.num_versions}${stored.newest.note && `: ${stored.newest.note}`}` : INTENT}
      actions={stored && <Actions stored={stored} />}
    >
      <SimpleGrid cols={{ base: 1, lg: 2 }} spacing="xl" verticalSpacing="xl">
        <Section title="Definition">
          <ColumnsContext value={columns}>
            <DefinitionEditor definition={definition} onChange={setDefinition} />
          </ColumnsContext>
          <Check definition={definition} columns={columns} />
          <Save definition={definition} stored={stored} />
        </Section>
        <Section title="How it behaves">
          <Tabs
            value={tab}
            onChange={(to) => navigate({ search: (old) => ({ ...old, tab: to as typeof tab }), replace: true })}
            keepMounted={false}
          >
            <Tabs.List>
              <Tabs.Tab value="try">One answer</Tabs.Tab>
              <Tabs.Tab value="batch">Many rows</Tabs.Tab>
              <Tabs.Tab value="red-team">Cheats</Tabs.Tab>
              <Tabs.Tab value="calibrate">Calibrate</Tabs.Tab>
              <Tabs.Tab value="regrade">Regrade</Tabs.Tab>
              {stored && <Tabs.Tab value="versions">Versions</Tabs.Tab>}
            </Tabs.List>
            <Tabs.Panel value="try" pt="md">
              <TryOne definition={definition} />
            </Tabs.Panel>
            <Tabs.Panel value="batch" pt="md">
              <Batch definition={definition} />
            </Tabs.Panel>
            <Tabs.Panel value="red-team" pt="md">
              <RedTeam definition={definition} />
            </Tabs.Panel>
            <Tabs.Panel value="calibrate" pt="md">
              <Calibrate definition={definition} />
            </Tabs.Panel>
            <Tabs.Panel value="regrade" pt="md">
              <Regrade definition={definition} />
            </Tabs.Panel>
            {stored && (
              <Tabs.Panel value="versions" pt="md">
                <Versions graderId={stored.id} onTake={setDefinition} />
              </Tabs.Panel>
            )}
          </Tabs>
        </Section>
      </SimpleGrid>
    </Page>
  );
}

/** What the server says of the definition, and what the rows at hand lack of it. */
function Check({ definition, columns }: { definition: Definition; columns: Columns }) {
  const check = useCheck(definition);
  const missing = columns ? itemFields(definition).filter((name) => !columns.includes(name)) : [];
  if (check.isError) {
    return (
      <Text size="sm" role="status" c="var(--mantine-color-error)">
        {check.error.message}
      </Text>
    );
  }
  return (
    <Text size="sm" role="status" c={missing.length ? "var(--mantine-color-error)" : "dimmed"} mih={20}>
      {missing.length > 0
        ? `The chosen dataset has no column ${missing.join(", ")}. It has ${columns!.join(", ")}.`
        : check.isSuccess && "✓ The server can run it."}
    </Text>
  );
}

function Save({ definition, stored }: { definition: Definition; stored: StoredGraderShape | null }) {
  const [name, setName] = useState("");
  const [note, setNote] = useState("");
  const client = useQueryClient();
  const navigate = route.useNavigate();
  const save = useMutation({
    mutationFn: async () => {
      const grader = definition as never;
      if (stored) {
        const params = { path: { grader_id: stored.id } };
        await answer(api.POST("/v1/fettle/graders/{grader_id}/versions", { params, body: { grader, note } }));
        return stored.id;
      }
      return (await answer(api.POST("/v1/fettle/graders", { body: { name: name.trim(), grader, note } }))).id;
    },
    onSuccess: (id) => {
      setNote("");
      client.invalidateQueries({ queryKey: gradersQuery.queryKey });
      if (!stored) navigate({ params: { graderId: id }, search: (old) => old });
    },
  });
  const unchanged = stored !== null && JSON.stringify(stored.newest.grader) === JSON.stringify(definition);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    save.mutate();
  };
  return (
    <Stack gap="xs" component="form" onSubmit={submit}>
      <Group align="flex-end" gap="sm">
        {!stored && (
          <TextInput
            label="Name"
            required
            withAsterisk={false}
            flex="1 1 160px"
            value={name}
            onChange={(event) => setName(event.currentTarget.value)}
          />
        )}
        <TextInput
          label="Note"
          placeholder="what changed, and why"
          flex="1 1 200px"
          value={note}
          onChange={(event) => setNote(event.currentTarget.value)}
        />
        <Button type="submit" loading={save.isPending} disabled={unchanged}>
          {stored ? `Save as version ${stored.num_versions + 1}` : "Save"}
        </Button>
      </Group>
      {unchanged && (
        <Text size="xs" c="dimmed">
          This is version {stored.num_versions} as it is stored. A change makes the next one.
        </Text>
      )}
      {save.isError && (
        <Alert color="red" role="alert">
          {save.error.message}
        </Alert>
      )}
    </Stack>
  );
}

function Actions({ stored }: { stored: StoredGraderShape }) {
  const { file } = useDataset();
  const search = { grader: stored.newest.id, training: file ?? undefined };
  return (
    <>
      <Button variant="default" renderRoot={(props) => <Link to="/jobs/new" search={search} {...props} />}>
        New job with it
      </Button>
      <Delete stored={stored} />
    </>
  );
}

function Delete({ stored }: { stored: StoredGraderShape }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  return (
    <Confirm
      verb="Delete"
      title={`Delete ${stored.name}?`}
      action={() =>
        answer(api.DELETE("/v1/fettle/graders/{grader_id}", { params: { path: { grader_id: stored.id } } }))
      }
      onDone={() => {
        client.invalidateQueries({ queryKey: gradersQuery.queryKey });
        navigate({ to: "/graders" });
      }}
      button={(open) => (
        <Button variant="default" onClick={open}>
          Delete
        </Button>
      )}
    >
      It leaves the list. Jobs keep the definition they were made with.
    </Confirm>
  );
}
