CREATE TABLE `accounts` (
	`id` integer PRIMARY KEY NOT NULL,
	`owner` text NOT NULL,
	`email` text,
	`cents` integer DEFAULT 0 NOT NULL,
	`details` text,
	`closed` integer DEFAULT false NOT NULL,
	`created_at` integer NOT NULL,
	`version` integer DEFAULT 1 NOT NULL,
	CONSTRAINT "accounts_cents_not_negative" CHECK("accounts"."cents" >= 0)
);
--> statement-breakpoint
CREATE UNIQUE INDEX `accounts_open_email` ON `accounts` (`email`) WHERE "accounts"."closed" = 0;--> statement-breakpoint
CREATE INDEX `accounts_owner` ON `accounts` (`owner`);--> statement-breakpoint
CREATE TABLE `audit` (
	`id` integer PRIMARY KEY NOT NULL,
	`account` integer NOT NULL,
	`transfer` integer,
	`action` text NOT NULL,
	`delta` integer NOT NULL,
	`balance` integer NOT NULL,
	`at` integer NOT NULL,
	FOREIGN KEY (`account`) REFERENCES `accounts`(`id`) ON UPDATE no action ON DELETE cascade,
	FOREIGN KEY (`transfer`) REFERENCES `transfers`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE INDEX `audit_account` ON `audit` (`account`,`id`);--> statement-breakpoint
CREATE TABLE `transfers` (
	`id` integer PRIMARY KEY NOT NULL,
	`source` integer NOT NULL,
	`destination` integer NOT NULL,
	`cents` integer NOT NULL,
	`at` integer NOT NULL,
	`idempotency_key` text NOT NULL,
	FOREIGN KEY (`source`) REFERENCES `accounts`(`id`) ON UPDATE no action ON DELETE no action,
	FOREIGN KEY (`destination`) REFERENCES `accounts`(`id`) ON UPDATE no action ON DELETE no action,
	CONSTRAINT "transfers_cents_positive" CHECK("transfers"."cents" > 0),
	CONSTRAINT "transfers_two_accounts" CHECK("transfers"."source" <> "transfers"."destination")
);
--> statement-breakpoint
CREATE UNIQUE INDEX `transfers_idempotency_key_unique` ON `transfers` (`idempotency_key`);--> statement-breakpoint
CREATE INDEX `transfers_source` ON `transfers` (`source`,`at`);--> statement-breakpoint
CREATE INDEX `transfers_destination` ON `transfers` (`destination`,`at`);