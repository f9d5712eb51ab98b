import { Anchor, Badge, Button, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { type Model, modelQuery, modelsQuery } from "@/api/models";
import { dateTime, number, plural, signed } from "@/ui/format";
import { Page, Section } from "@/ui/Page";
import { Empty, Loaded } from "@/ui/states";

export function ModelsPage() {
  const models = useQuery(modelsQuery);
  const tuned = models.data?.filter((model) => model.facts.kind !== "base").length ?? 0;
  return (
    <Page title="Models" lead={models.data && `${plural(tuned, "model")} of your own, and what they can start from.`}>
      <Loaded query={models}>
        {(all) => (
          <>
            <Section title="Fine-tuned">
              {tuned === 0 ? (
                <Empty title="No model of your own yet.">A job that succeeds leaves one here, ready to be asked.</Empty>
              ) : (
                <Tuned models={all.filter((model) => model.facts.kind !== "base")} />
              )}
            </Section>
            <Section title="Base models">
              <Bases models={all.filter((model) => model.facts.kind === "base")} />
            </Section>
          </>
        )}
      </Loaded>
    </Page>
  );
}

function Tuned({ models }: { models: Model[] }) {
  return (
    <Table.ScrollContainer minWidth={300}>
      <Table>
        <Table.Thead>
          <Table.Tr>
            <Table.Th scope="col">Model</Table.Th>
            <Table.Th scope="col">Held-out gain over its start</Table.Th>
            <Table.Th scope="col" visibleFrom="sm">
              Step
            </Table.Th>
            <Table.Th scope="col" visibleFrom="sm">
              Made
            </Table.Th>
            <Table.Td />
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {models.map((model) => (
            <Table.Tr key={model.id}>
              <Table.Td style={{ overflowWrap: "anywhere" }}>
                <ModelLink id={model.id} />
              </Table.Td>
              <Table.Td>
                <Gain id={model.id} />
              </Table.Td>
              <Table.Td visibleFrom="sm">{model.facts.step}</Table.Td>
              <Table.Td visibleFrom="sm">{dateTime(model.created)}</Table.Td>
              <Table.Td ta="right">
                <TryButton id={model.id} beside={model.facts.base_model} />
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Table.ScrollContainer>
  );
}

function Gain({ id }: { id: string }) {
  const { data } = useQuery(modelQuery(id));
  const selection = data?.facts.selection;
  if (!selection) return null;
  if (selection.verdict !== "improved") return <Badge color="gray">no measurable gain</Badge>;
  return (
    <>
      <b>{signed(selection.gain)}</b>{" "}
      <Text span size="sm" c="dimmed">
        ({signed(selection.gain_low)} to {signed(selection.gain_high)}) to {number(selection.chosen_mean)}
      </Text>
    </>
  );
}

function Bases({ models }: { models: Model[] }) {
  return (
    <Table>
      <Table.Tbody>
        {models.map((model) => (
          <Table.Tr key={model.id}>
            <Table.Th scope="row">
              <ModelLink id={model.id} />
            </Table.Th>
            <Table.Td>{model.facts.description}</Table.Td>
            <Table.Td ta="right">
              <TryButton id={model.id} />
            </Table.Td>
          </Table.Tr>
        ))}
      </Table.Tbody>
    </Table>
  );
}

function ModelLink({ id }: { id: string }) {
  return (
    <Anchor renderRoot={(props) => <Link to="/models/$modelId" params={{ modelId: id }} {...props} />}>{id}</Anchor>
  );
}

function TryButton({ id, beside }: { id: string; beside?: string }) {
  return (
    <Button
      variant="default"
      size="compact-sm"
      aria-label={`Try ${id}`}
      renderRoot={(props) => <Link to="/playground" search={{ models: beside ? [beside, id] : [id] }} {...props} />}
    >
      Try
    </Button>
  );
}
