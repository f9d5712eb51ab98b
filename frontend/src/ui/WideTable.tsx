import { Table, type TableProps } from "@mantine/core";

interface WideTableProps extends TableProps {
  /** Pixels below which it scrolls sideways inside its place, reachable by keyboard. */
  minWidth: number;
}

export function WideTable({ minWidth, ...rest }: WideTableProps) {
  return (
    <Table.ScrollContainer minWidth={minWidth} scrollAreaProps={{ viewportProps: { tabIndex: 0 } }}>
      <Table {...rest} />
    </Table.ScrollContainer>
  );
}
