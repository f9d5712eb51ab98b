import { Table } from "@mantine/core";
import { Dialog } from "@/ui/Dialog";
import classes from "./frame.module.css";
import { PAGES } from "./navigation";

const KEYS: [string, string][] = [
  ["Ctrl K, ⌘ K", "Search and commands"],
  ...PAGES.map((page): [string, string] => [`g ${page.key}`, page.label]),
  ["n", "New, on the page that makes something"],
  ["/", "Filter"],
  ["j k", "Next and previous row"],
  ["Enter", "Open the row"],
  ["x, c", "Select the row; compare what is selected"],
  ["[ ]", "Previous and next step"],
  ["← →", "Move the cursor of a chart that has the focus; previous and next completion"],
  ["t", "Fold or unfold thinking"],
  ["?", "This sheet"],
];

export default function KeySheet({ onClose }: { onClose: () => void }) {
  return (
    <Dialog title="Keyboard" onClose={onClose}>
      <Table className={classes.keyTable} withRowBorders={false}>
        <Table.Tbody>
          {KEYS.map(([keys, effect]) => (
            <Table.Tr key={keys}>
              <Table.Th scope="row" w={130}>
                <kbd>{keys}</kbd>
              </Table.Th>
              <Table.Td>{effect}</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Dialog>
  );
}
