import type { ClassInfo, Picture, Problem } from "../src/api.types";

export interface MockServer {
  pictures: Picture[];
  classes: ClassInfo[];
  log: { id: string; text: string; undone: boolean; kind: string }[];
  requests: { method: string; path: string; search: string; body: unknown }[];
  up: boolean;
  scanning: boolean;
  tasks: unknown[];
  handle: (method: string, address: string, body: unknown) => { status: number; body: unknown };
  add: (found: Picture[]) => void;
}

export function mockServer(options?: {
  names?: number; problems?: Problem[]; firstVisit?: boolean; folder?: string;
}): MockServer;
