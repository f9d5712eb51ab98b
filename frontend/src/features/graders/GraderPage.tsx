import { Alert, Button, Group, SimpleGrid, Stack, Tabs, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { answer, api } from "@/api/client";
import type { StoredGraderShape } from "@/api/schema";
import { Confirm } from "@/ui/Confirm";
import { DefinitionEditor } from "@/ui/grader/DefinitionEditor";
import { type Definition, KINDS, kindOf } from "@/ui/grader/kinds";
import { Page, Section } from "@/ui/Page";
import { Loaded } from "@/ui/states";
import { Batch } from "./Batch";
import { Calibrate } from "./Calibrate";
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

function Workbench({ stored }: { stored: StoredGraderShape | null }) {
  const [definition, setDefinition] = useState<Definition>(stored?.newest.grader ?? KINDS[0]!.example);
  const { tab = "try" } = route.useSearch();
  const navigate = route.useNavigate();
  return (
    <Page
      title={stored?.name ?? "New grader"}
      lead={kindOf(definition)?.says}
      actions={stored && <Delete stored={stored} />}
    >
      <SimpleGrid cols={{ base: 1, lg: 2 }} spacing="xl" verticalSpacing="xl">
        <Section title="Definition">
          <DefinitionEditor definition={definition} onChange={setDefinition} />
          <Save definition={definition} stored={stored} />
        </Section>
        <Section title="How it behaves">
          <Tabs
            value={tab}
            onChange={(to) => navigate({ search: { tab: to as typeof tab }, replace: true })}
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

function Save({ definition, stored }: { definition: Definition; stored: StoredGraderShape | null }) {
  const [name, setName] = useState("");
  const [note, setNote] = useState("");
  const client = useQueryClient();
  const navigate = useNavigate();
  const save = useMutation({
    mutationFn: async () => {
      const grader = definition as never;
      if (stored) {
        const params = { path: { grader_id: stored.id } };
        await answer(api.POST("/v1/fettle/graders/{grader_id}/versions", { params, body: { grader, note } }));
        return stored.id;
      }
      return (await answer(api.POST("/v1/fettle/graders", { body: { name, grader, note } }))).id;
    },
    onSuccess: (id) => {
      setNote("");
      client.invalidateQueries({ queryKey: gradersQuery.queryKey });
      if (!stored) navigate({ to: "/graders/$graderId", params: { graderId: id } });
    },
  });
  const unchanged = stored !== null && JSON.stringify(stored.newest.grader) === JSON.stringify(definition);
  return (
    <Stack gap="xs">
      <Group align="flex-end" gap="sm">
        {!stored && <TextInput label="Name" value={name} onChange={(event) => setName(event.currentTarget.value)} />}
        <TextInput
          label="Note"
          placeholder="what changed, and why"
          flex={1}
          value={note}
          onChange={(event) => setNote(event.currentTarget.value)}
        />
        <Button
          loading={save.isPending}
          disabled={unchanged || (!stored && !name.trim())}
          onClick={() => save.mutate()}
        >
          {stored ? `Save as version ${stored.num_versions + 1}` : "Save"}
        </Button>
      </Group>
      {save.isError && (
        <Alert color="red" role="alert">
          {save.error.message}
        </Alert>
      )}
    </Stack>
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
