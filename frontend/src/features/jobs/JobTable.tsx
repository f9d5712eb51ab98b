import { Checkbox, Table } from "@mantine/core";
import { type ReactNode, useState } from "react";
import { jobName } from "@/api/jobs";
import type { JobWithProgressShape } from "@/api/schema";
import { useKeys } from "@/ui/keys";
import classes from "./jobs.module.css";

interface JobTableProps {
  jobs: readonly JobWithProgressShape[];
  columns: readonly { header: string; right?: boolean; cell: (job: JobWithProgressShape) => ReactNode }[];
  chosen: readonly string[];
  onToggle: (id: string) => void;
  onOpen: (job: JobWithProgressShape) => void;
}

/** Jobs with a box to choose each; on a narrow screen every job is a card. j, k, x and Enter work. */
export function JobTable({ jobs, columns, chosen, onToggle, onOpen }: JobTableProps) {
  const [at, setAt] = useState(-1);
  const move = (to: number) => setAt(Math.max(0, Math.min(to, jobs.length - 1)));
  const here = jobs[at];
  useKeys({
    j: () => move(at + 1),
    k: () => move(at - 1),
    ...(here ? { x: () => onToggle(here.id), Enter: () => onOpen(here) } : {}),
  });
  return (
    <Table className={classes.table}>
      <Table.Thead>
        <Table.Tr>
          <Table.Td w={40} />
          {columns.map((column) => (
            <Table.Th key={column.header} scope="col" data-right={column.right || undefined}>
              {column.header}
            </Table.Th>
          ))}
        </Table.Tr>
      </Table.Thead>
      <Table.Tbody>
        {jobs.map((job, index) => (
          <Table.Tr key={job.id} data-at={index === at || undefined}>
            <Table.Td className={classes.choose}>
              <Checkbox
                aria-label={`Compare ${jobName(job)}`}
                checked={chosen.includes(job.id)}
                onChange={() => onToggle(job.id)}
              />
            </Table.Td>
            {columns.map((column) => (
              <Table.Td key={column.header} data-label={column.header} data-right={column.right || undefined}>
                {column.cell(job)}
              </Table.Td>
            ))}
          </Table.Tr>
        ))}
      </Table.Tbody>
    </Table>
  );
}
