import { Alert, Anchor, Button, Code, Table, Text } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { answer, api } from "@/api/client";
import { besideItsStart, jobQuery } from "@/api/jobs";
import { type Model, type ModelSelection, modelQuery, modelsQuery } from "@/api/models";
import { Confirm } from "@/ui/Confirm";
import { bytes, dateTime, number, percent, signed } from "@/ui/format";
import { Interval } from "@/ui/Interval";
import { Page, Section } from "@/ui/Page";
import { Copy } from "@/ui/Secret";
import { Loaded } from "@/ui/states";

const route = getRouteApi("/frame/models/$modelId");

export function ModelPage() {
  const { modelId } = route.useParams();
  const model = useQuery(modelQuery(modelId));
  return (
    <Page title={modelId} lead={model.data && lead(model.data)} actions={model.data && <Actions model={model.data} />}>
      <Loaded query={model}>{(data) => <Details model={data} />}</Loaded>
    </Page>
  );
}

function lead({ facts }: Model): string {
  if (facts.kind === "base") return facts.description ?? "A base model.";
  if (facts.selection?.verdict === "improved")
    return `Better than ${facts.trained_from}, measured on rows it did not learn from.`;
  if (facts.selection) return `Nothing measurably better than ${facts.trained_from} was found, so this is its equal.`;
  return `Step ${facts.step} of a job on ${facts.base_model}.`;
}

function Details({ model }: { model: Model }) {
  const { facts } = model;
  const code = `client.chat.completions.create(model="${model.id}", messages=[{"role": "user", "content": "..."}])`;
  return (
    <>
      {facts.selection && <Score selection={facts.selection} />}
      {facts.kind !== "base" && <Lineage model={model} />}
      <Section title="Use it" actions={<Copy text={code} />}>
        <Code block style={{ whiteSpace: "pre-wrap", overflowWrap: "anywhere" }}>
          {code}
        </Code>
      </Section>
    </>
  );
}

function Score({ selection }: { selection: ModelSelection }) {
  const interval = `${signed(selection.gain_low)} and ${signed(selection.gain_high)}`;
  return (
    <Section title="What it gained" lead={`Measured on ${selection.measured_on}.`}>
      {selection.in_sample && (
        <Alert color="orange">There were too few rows to hold any out: these were trained on too.</Alert>
      )}
      <Text>
        From {number(selection.base_mean)} to <b>{number(selection.chosen_mean)}</b>: a gain of{" "}
        <b>{signed(selection.gain)}</b>, with {percent(selection.confidence)} confidence between {interval}. It moved{" "}
        {number(selection.kl_nats)} nats per token away from its start.
      </Text>
      <Interval label="Gain" value={selection.gain} low={selection.gain_low} high={selection.gain_high} />
      <Text size="sm" c="dimmed" maw={760}>
        {selection.rule}
      </Text>
    </Section>
  );
}

function Lineage({ model }: { model: Model }) {
  const { facts } = model;
  const job = useJobOf(model);
  const graderVersion = job?.fettle.grader_version;
  return (
    <Section title="Where it comes from">
      <Table variant="vertical" layout="fixed" maw={760}>
        <Table.Tbody>
          <Table.Tr>
            <Table.Th scope="row" w={140}>
              Trained from
            </Table.Th>
            <Table.Td>
              {facts.trained_from && (
                <Anchor
                  renderRoot={(props) => (
                    <Link to="/models/$modelId" params={{ modelId: facts.trained_from! }} {...props} />
                  )}
                >
                  {facts.trained_from}
                </Anchor>
              )}
            </Table.Td>
          </Table.Tr>
          <Table.Tr>
            <Table.Th scope="row">Job</Table.Th>
            <Table.Td style={{ overflowWrap: "anywhere" }}>
              <Anchor
                renderRoot={(props) => (
                  <Link to="/jobs/$jobId" params={{ jobId: facts.fine_tuning_job_id! }} {...props} />
                )}
              >
                {facts.fine_tuning_job_id}
              </Anchor>
              , step {facts.step}
            </Table.Td>
          </Table.Tr>
          <Table.Tr>
            <Table.Th scope="row">Data</Table.Th>
            <Table.Td>
              {job && <FileLink id={job.training_file}>the training rows</FileLink>}
              {job?.validation_file && (
                <>
                  {" and "}
                  <FileLink id={job.validation_file}>the held-out rows</FileLink>
                </>
              )}
            </Table.Td>
          </Table.Tr>
          <Table.Tr>
            <Table.Th scope="row">Grader</Table.Th>
            <Table.Td>
              {graderVersion ? `version ${graderVersion}, as in ` : "in "}
              <Anchor
                renderRoot={(props) => (
                  <Link
                    to="/jobs/$jobId"
                    params={{ jobId: facts.fine_tuning_job_id! }}
                    search={{ tab: "configuration" }}
                    {...props}
                  />
                )}
              >
                the job's configuration
              </Anchor>
            </Table.Td>
          </Table.Tr>
          <Table.Tr>
            <Table.Th scope="row">Made</Table.Th>
            <Table.Td>{dateTime(model.created)}</Table.Td>
          </Table.Tr>
          <Table.Tr>
            <Table.Th scope="row">Weights</Table.Th>
            <Table.Td style={{ overflowWrap: "anywhere" }}>
              {Object.entries(facts.files ?? {}).map(([name, file]) => (
                <div key={name}>
                  {name}, {bytes(file.size_bytes)}
                </div>
              ))}
              <Text size="xs" c="dimmed" ff="monospace">
                {facts.adapter_digest}
              </Text>
            </Table.Td>
          </Table.Tr>
        </Table.Tbody>
      </Table>
    </Section>
  );
}

function useJobOf({ facts }: Model) {
  const id = facts.fine_tuning_job_id;
  return useQuery({ ...jobQuery(id ?? ""), enabled: id !== undefined }).data;
}

function FileLink({ id, children }: { id: string; children: string }) {
  return (
    <Anchor renderRoot={(props) => <Link to="/datasets/$fileId" params={{ fileId: id }} {...props} />}>
      {children}
    </Anchor>
  );
}

function Actions({ model }: { model: Model }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const { facts, id } = model;
  const path = encodeURIComponent(id);
  const job = useJobOf(model);
  const asked = job ? besideItsStart(job, id) : { models: facts.trained_from ? [facts.trained_from, id] : [id] };
  return (
    <>
      <Button renderRoot={(props) => <Link to="/playground" search={asked} {...props} />}>
        {facts.kind === "base" ? "Try it" : "Try it beside its start"}
      </Button>
      {facts.kind !== "base" && (
        <>
          <Button component="a" variant="default" href={`/v1/fettle/models/${path}/adapter`} download>
            Download
          </Button>
          <DeleteModel
            id={id}
            onDone={() => {
              client.invalidateQueries({ queryKey: modelsQuery.queryKey });
              navigate({ to: "/models" });
            }}
          />
        </>
      )}
    </>
  );
}

function DeleteModel({ id, onDone }: { id: string; onDone: () => void }) {
  const models = useQuery(modelsQuery);
  const details = useQuery({
    queryKey: ["models", "dependants", id],
    enabled: models.data !== undefined,
    queryFn: async () => {
      const tuned = models.data!.filter((one) => one.facts.kind !== "base" && one.id !== id);
      const facts = await Promise.all(
        tuned.map((one) => answer(api.GET("/v1/fettle/models/{model_id}", { params: { path: { model_id: one.id } } }))),
      );
      return facts.filter((one) => one.fettle.trained_from === id).map((one) => one.id);
    },
  });
  return (
    <Confirm
      verb="Delete"
      title="Delete this model?"
      action={() => answer(api.DELETE("/v1/models/{model_id}", { params: { path: { model_id: id } } }))}
      onDone={onDone}
      button={(open) => (
        <Button variant="default" onClick={open}>
          Delete
        </Button>
      )}
    >
      <Text>
        <b style={{ overflowWrap: "anywhere" }}>{id}</b> answers no more from the next request on. Its job, the rollouts
        and the checkpoints of that job stay.
      </Text>
      {details.data && details.data.length > 0 && (
        <Text mt="sm">These were trained from it and stay: {details.data.join(", ")}.</Text>
      )}
    </Confirm>
  );
}
