import { Text, TextInput, UnstyledButton } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { type KeyboardEvent, useState } from "react";
import { answer, api } from "@/api/client";
import { Dialog } from "@/ui/Dialog";
import { PAGES } from "./navigation";
import classes from "./palette.module.css";

interface Target {
  id: string;
  label: string;
  kind: string;
  href: string;
}

/** Pages, commands, and the project's jobs, datasets and models by name or id. */
export default function Palette({ onClose }: { onClose: () => void }) {
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const navigate = useNavigate();
  const { data: things = [] } = useQuery({ queryKey: ["palette"], queryFn: everything });
  const found = matching([...COMMANDS, ...things], text);
  const chosen = Math.min(at, found.length - 1);
  const open = (target: Target | undefined) => {
    if (!target) return;
    onClose();
    navigate({ href: target.href });
  };
  const press = (event: KeyboardEvent) => {
    if (event.key === "Enter") open(found[chosen]);
    else if (event.key === "ArrowDown") setAt(Math.min(chosen + 1, found.length - 1));
    else if (event.key === "ArrowUp") setAt(Math.max(chosen - 1, 0));
    else return;
    event.preventDefault();
  };
  return (
    <Dialog title="Search and commands" bare size="lg" onClose={onClose}>
      <TextInput
        data-autofocus
        aria-label="Search"
        role="combobox"
        aria-expanded
        aria-controls="palette-results"
        aria-activedescendant={found[chosen] ? `palette-${chosen}` : undefined}
        placeholder="A page, a job, a dataset, a model…"
        variant="unstyled"
        size="lg"
        px="md"
        value={text}
        onKeyDown={press}
        onChange={(event) => {
          setText(event.currentTarget.value);
          setAt(0);
        }}
      />
      <div className={classes.results}>
        <div role="listbox" id="palette-results" aria-label="Results">
          {found.map((target, index) => (
            <UnstyledButton
              key={target.id}
              id={`palette-${index}`}
              role="option"
              tabIndex={-1}
              aria-selected={index === chosen}
              className={classes.result}
              onClick={() => open(target)}
            >
              <span>{target.label}</span>
              <Text span size="xs" c="dimmed">
                {target.kind}
              </Text>
            </UnstyledButton>
          ))}
        </div>
        {found.length === 0 && (
          <Text c="dimmed" size="sm" p="md">
            Nothing has this name.
          </Text>
        )}
      </div>
    </Dialog>
  );
}

const COMMANDS: Target[] = [
  ...PAGES.map((page) => ({ id: page.to, label: page.label, kind: `page · g ${page.key}`, href: page.to as string })),
  { id: "new-job", label: "New job", kind: "command", href: "/jobs/new" },
  { id: "upload", label: "Upload a dataset", kind: "command", href: "/datasets" },
  { id: "usage", label: "Usage", kind: "page", href: "/usage" },
  { id: "new-key", label: "New API key", kind: "command", href: "/settings" },
];

async function everything(): Promise<Target[]> {
  const [jobs, files, models] = await Promise.all([
    answer(api.GET("/v1/fine_tuning/jobs", { params: { query: { limit: 100 } } })),
    answer(api.GET("/v1/files", { params: { query: { purpose: "fine-tune", limit: 100 } } })),
    answer(api.GET("/v1/models")),
  ]);
  return [
    ...jobs.data.map((job) => ({
      id: job.id,
      label: `${job.user_provided_suffix ?? job.model} ${job.id}`,
      kind: `job · ${job.status}`,
      href: `/jobs/${job.id}`,
    })),
    ...files.data.map((file) => ({ id: file.id, label: file.filename, kind: "dataset", href: `/datasets/${file.id}` })),
    ...models.data.map((model) => ({
      id: `model-${model.id}`,
      label: model.id,
      kind: "model",
      href: `/models/${encodeURIComponent(model.id)}`,
    })),
  ];
}

/** Every word of the text must occur; at most thirty. */
export function matching(targets: Target[], text: string): Target[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (target: Target) =>
    words.every((word) => `${target.label} ${target.kind} ${target.id}`.toLowerCase().includes(word));
  return targets.filter(fits).slice(0, 30);
}
